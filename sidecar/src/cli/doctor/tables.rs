//! The tables whose row changes are events, and what keeps a row change from being one.

use super::extension::quoted;
use super::finding::{Findings, Level};
use crate::cli::connection::Connection;
use crate::cli::error::CliError;

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    attached(connection, findings).await?;
    unattached(connection, findings).await?;
    muted(connection, findings).await
}

async fn attached(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT t.tgrelid::regclass::text, split_part(encode(t.tgargs, 'escape'), '\\000', 1),
                      t.tgenabled::text, t.tgparentid <> 0
                 FROM pg_trigger t
                 JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname = 'capture'
                 JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'webhooks'
                WHERE t.tgname <> '!webhooks_truncate'
                ORDER BY 1";
    let mut sound = Vec::new();
    let rows = connection.client.query(sql, &[]).await?;
    for row in &rows {
        let (table, kind, enabled): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let fix = format!("ALTER TABLE {table} ENABLE TRIGGER \"!webhooks_capture\";");
        match enabled.as_str() {
            "D" => {
                findings.problem("tables", format!("the trigger of {table} is disabled: its rows make no events"), fix)
            }
            "R" => findings.problem("tables", format!("the trigger of {table} fires only for replicated rows"), fix),
            "A" => findings.warning(
                "tables",
                format!(
                    "the trigger of {table} fires for replicated rows, too: what another server sent is sent again"
                ),
                fix,
            ),
            // The trigger of a partition belongs to that of its table.
            _ if row.get(3) => {}
            _ if table == kind => sound.push(table),
            _ => sound.push(format!("{table} as {kind}")),
        }
    }
    if !sound.is_empty() {
        findings.ok("tables", format!("attached: {}", sound.join(", ")));
    } else if rows.is_empty() {
        findings.warning(
            "tables",
            "no table is attached: only webhooks.emit makes events",
            "SELECT webhooks.attach('products');",
        );
    }
    Ok(())
}

async fn unattached(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    // There is a function wanted_… for each kind of table. (webhooks.kinds() takes a right that a caller may lack.)
    let sql = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 JOIN pg_proc p ON p.pronamespace = 'webhooks'::regnamespace AND p.proname = 'wanted_' || c.relname
                WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'webhooks')
                  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = '!webhooks_capture')
                ORDER BY 1";
    for row in connection.client.query(sql, &[]).await? {
        let table: String = row.get(0);
        let fix = format!("SELECT webhooks.attach('{}');", table.replace('\'', "''"));
        findings.warning("tables", format!("{table} is not attached: its rows make no events"), fix);
    }
    Ok(())
}

/// What has become of the attached tables, but for what `attached` says of their triggers.
pub async fn check_attachments(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT about, format('%s: %s', target, problem), fix FROM webhooks.attachment_problems()
                WHERE about <> 'trigger' AND fix IS NOT NULL";
    for row in connection.client.query(sql, &[]).await? {
        let (about, message, fix): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let is_to_come = matches!(about.as_str(), "renamed" | "secret");
        let level = if is_to_come { Level::Warning } else { Level::Problem };
        findings.add("tables", level, message, fix);
    }
    Ok(())
}

/// Row changes that should have made an event and did not.
pub async fn check_missed(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT format('%s row change%s of %s made no %s: %s (the last one %s)', changes,
                             CASE changes WHEN 1 THEN '' ELSE 's' END, table_name,
                             CASE event WHEN '*' THEN 'event' ELSE event END, reason,
                             to_char(last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'))
                 FROM webhooks.missed_events() LIMIT 20";
    for row in connection.client.query(sql, &[]).await? {
        let fix = "Attach the table again, with columns => … for what has other names. Then, as a superuser, DELETE FROM webhooks.missed;";
        findings.problem("tables", row.get::<_, String>(0), fix);
    }
    Ok(())
}

/// Settings under which capture stays silent.
async fn muted(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let sql = "SELECT split_part(assignment, '=', 1), split_part(assignment, '=', 2), d.datname::text, r.rolname::text
                 FROM pg_db_role_setting s
                 LEFT JOIN pg_database d ON d.oid = s.setdatabase
                 LEFT JOIN pg_roles r ON r.oid = s.setrole
                CROSS JOIN unnest(s.setconfig) assignment
                WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                  AND assignment ~* '^(session_replication_role=replica|pg_webhooks\\.enabled=(off?|f|fa|fal|fals|false|no?|0))$'";
    let mut is_told = false;
    for row in connection.client.query(sql, &[]).await? {
        let (name, value): (String, String) = (row.get(0), row.get(1));
        let (database, role): (Option<String>, Option<String>) = (row.get(2), row.get(3));
        let database = database.map(|name| quoted(&name));
        let (level, who, subject) = match (&role.map(|name| quoted(&name)), &database) {
            (Some(role), Some(database)) => {
                (Level::Warning, format!("role {role}"), format!("ROLE {role} IN DATABASE {database}"))
            }
            (Some(role), None) => (Level::Warning, format!("role {role}"), format!("ROLE {role}")),
            (None, database) => {
                let database = database.clone().unwrap_or_default();
                (Level::Problem, "everybody".to_owned(), format!("DATABASE {database}"))
            }
        };
        is_told |= level == Level::Problem;
        let message = format!("{name} is {value} for {who}: their rows make no events");
        findings.add("capture", level, message, format!("ALTER {subject} RESET {name};"));
    }
    let sql = "SELECT current_setting('session_replication_role'), coalesce(current_setting('pg_webhooks.enabled', true), 'on')";
    let row = connection.client.query_one(sql, &[]).await?;
    for (name, value, silent) in
        [("session_replication_role", row.get::<_, String>(0), "replica"), ("pg_webhooks.enabled", row.get(1), "off")]
    {
        if value == silent && !is_told {
            let fix = format!("ALTER SYSTEM RESET {name}; SELECT pg_reload_conf();  -- or ALTER ROLE … RESET");
            findings.problem("capture", format!("{name} is {value}: rows make no events"), fix);
        }
    }
    Ok(())
}
