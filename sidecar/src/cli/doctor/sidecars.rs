//! Whether sidecars deliver, and keep up.

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::time;
use crate::store::Status;

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let status = connection.store().status().await?;
    judge(&status, findings);
    Ok(())
}

fn judge(status: &Status, findings: &mut Findings) {
    for webhook_id in &status.unreadable {
        let message = format!("message {webhook_id} is damaged, its bytes are no text: nobody gets it");
        let mend = format!(
            "pg-webhooks logs --outcome unreadable says more; once it is mended in webhooks.event: pg-webhooks redeliver {webhook_id}"
        );
        findings.warning("messages", message, mend);
    }
    let Status { sidecars, shards, shards_held, .. } = *status;
    let behind = status.behind_seconds as i64;
    let told = format!("{} behind: {} unread, {} due", time::rough(behind), status.unread, status.overdue);
    if sidecars == 0 {
        let fix = "DATABASE_URL=postgres://webhook_sender:…@localhost/shop pg-webhooks serve";
        findings.problem("sidecars", format!("none is running: nothing is sent, {told}"), fix);
    } else if shards_held < shards {
        let message =
            format!("{sidecars} running, holding {shards_held} of {shards} shards: the webhooks of the others wait");
        let fix =
            "pg-webhooks status shows whether that lasts; if it does, restart the sidecars and look at their log.";
        findings.problem("sidecars", message, fix);
    } else {
        let standby = if sidecars > shards { ", the rest stand by" } else { "" };
        findings.ok("sidecars", format!("{sidecars} running, holding {shards} of {shards} shards{standby}"));
    }
    if shards_held == 0 {
        return;
    }
    let fix = "pg-webhooks status shows which webhooks fail; SELECT webhooks.set_shards(2) and a second sidecar share the work.";
    match behind {
        300.. => findings.problem("delivery", told, fix),
        30.. => findings.warning("delivery", told, fix),
        _ => findings.ok("delivery", "up to date"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn worst(sidecars: i32, shards_held: i32, behind_seconds: f64) -> Level {
        let status = serde_json::json!({
            "version": "0.1.0", "sidecars": sidecars, "shards": 2, "shards_held": shards_held, "unread": 0, "oldest_unread_at": null,
            "pending": 0, "overdue": 0, "oldest_due_at": null, "behind_seconds": behind_seconds, "endpoints": 0, "disabled": 0,
            "in_trouble": [], "invalid_settings": [], "unreadable": [], "missed": 0, "missed_reasons": [], "given_up": 0
        });
        let mut findings = Findings::default();
        judge(&serde_json::from_value(status).unwrap(), &mut findings);
        findings.all().iter().map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn nobody_a_shard_without_owner_and_a_long_way_behind_are_problems() {
        assert_eq!(worst(1, 2, 0.0), Level::Ok);
        assert_eq!(worst(0, 0, 0.0), Level::Problem);
        assert_eq!(worst(1, 1, 0.0), Level::Problem);
        assert_eq!(worst(1, 2, 31.0), Level::Warning);
        assert_eq!(worst(1, 2, 300.0), Level::Problem);
    }
}
