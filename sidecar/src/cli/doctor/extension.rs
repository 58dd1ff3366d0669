//! The extension in this database, whether it fits this program, and what the connected role may do with it.

use super::finding::Findings;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;

const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The rights of the connected role.
pub struct Rights {
    /// It may call the functions that the commands for people call.
    pub manages: bool,
}

/// Returns the rights of the role; `None` if there is no extension.
pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<Option<Rights>, CliError> {
    let sql = "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pg_webhooks'), current_database()::text,
                      EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'pg_webhooks'),
                      EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'pg_webhooks' AND version = $1)";
    let row = connection.client.query_one(sql, &[&OWN_VERSION]).await?;
    let (installed, database): (Option<String>, String) = (row.get(0), row.get(1));
    let (is_available, has_ours): (bool, bool) = (row.get(2), row.get(3));
    let Some(installed) = installed else {
        let fix = if is_available {
            "CREATE EXTENSION pg_webhooks;  -- as a superuser"
        } else {
            "make install PG_CONFIG=…/bin/pg_config, on the server; then CREATE EXTENSION pg_webhooks;"
        };
        findings.problem("extension", format!("pg_webhooks is not installed in database {database}"), fix);
        return Ok(None);
    };
    if installed == OWN_VERSION {
        findings.ok("extension", format!("pg_webhooks {installed}, the same as this program"));
    } else {
        let fix = if has_ours {
            format!("ALTER EXTENSION pg_webhooks UPDATE TO '{OWN_VERSION}';")
        } else {
            "Install the same version of the extension and of pg-webhooks: make install.".to_owned()
        };
        findings.problem("extension", format!("pg_webhooks is {installed}, this program is {OWN_VERSION}"), fix);
    }
    roles(connection, findings).await.map(Some)
}

async fn roles(connection: &Connection, findings: &mut Findings) -> Result<Rights, CliError> {
    let sql = "SELECT current_user::text,
                      ARRAY(SELECT name FROM unnest(ARRAY['webhooks_admin', 'webhooks_api', 'webhooks_sidecar']) name
                             WHERE to_regrole(name) IS NULL),
                      ARRAY(SELECT name FROM unnest(ARRAY['webhooks_admin', 'webhooks_api', 'webhooks_sidecar']) name
                             WHERE pg_has_role(to_regrole(name), 'USAGE')),
                      (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
                      EXISTS (SELECT FROM pg_roles r WHERE r.rolcanlogin AND NOT r.rolsuper
                                 AND pg_has_role(r.oid, to_regrole('webhooks_sidecar'), 'USAGE'))";
    let row = connection.client.query_one(sql, &[]).await?;
    let (me, missing, held): (String, Vec<String>, Vec<String>) = (row.get(0), row.get(1), row.get(2));
    let (is_superuser, has_sender): (Option<bool>, Option<bool>) = (row.get(3), row.get(4));
    for role in missing {
        let fix = format!("CREATE ROLE {role} NOLOGIN;  -- then its grants, from sql/grants.sql");
        findings.problem("roles", format!("role {role} does not exist"), fix);
    }
    if has_sender == Some(false) {
        findings.warning(
            "roles",
            "no role that can log in is a member of webhooks_sidecar",
            "CREATE ROLE webhook_sender LOGIN PASSWORD '…' IN ROLE webhooks_sidecar;",
        );
    }
    let quoted = quoted(&me);
    let has = |role: &str| held.iter().any(|one| one == role);
    let manages = is_superuser == Some(true) || has("webhooks_admin") || has("webhooks_api");
    match held.as_slice() {
        _ if is_superuser == Some(true) => findings.ok("roles", format!("{me} is a superuser")),
        [] => findings.problem(
            "roles",
            format!("{me} is a member of none of webhooks_sidecar, webhooks_api, webhooks_admin"),
            format!("GRANT webhooks_admin TO {quoted};  -- webhooks_sidecar for pg-webhooks serve"),
        ),
        _ if !manages => findings.warning(
            "roles",
            format!("{me} may deliver and not manage: sidecars and webhooks were not looked at"),
            format!("Use another role's DATABASE_URL, or GRANT webhooks_admin TO {quoted};"),
        ),
        held => findings.ok("roles", format!("{me} is a member of {}", held.join(", "))),
    }
    Ok(Rights { manages })
}

/// Quotes a name for SQL if need be.
pub fn quoted(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
