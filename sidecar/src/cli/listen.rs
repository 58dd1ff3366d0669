//! `pg-webhooks listen`: a receiver to develop against. It shows every request with the verdict on its signatures and
//! answers as told: with a status, after a delay, failing the first requests of each message. It keeps nothing, and a
//! stranger's request cannot steer the terminal.

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::output::{line, note, tame, tame_line};
use crate::verify::{Standard, Verdict, signature};

#[derive(Args, Clone, Debug)]
pub struct Listen {
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value = "9000")]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Secret the webhook was registered with; without it, signatures are not checked
    #[arg(long, env = "PG_WEBHOOKS_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// Status to answer with, 200 unless given; with --fail-first the status to fail with, 500 unless given
    #[arg(long, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: Option<u16>,
    /// How long to wait before answering
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub delay: Duration,
    /// Fail the first K requests for each webhook_id
    #[arg(long, value_name = "K")]
    pub fail_first: Option<u32>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}

impl Listen {
    /// Receives until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let address = SocketAddr::new(self.bind, self.port);
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        // On stdout, each line is a request.
        note(&format!("listening on http://{}", listener.local_addr()?));
        let receiver = Arc::new(Receiver { settings: self, seen: Mutex::default() });
        let app = axum::Router::new().fallback(receive).layer(DefaultBodyLimit::disable()).with_state(receiver);
        tokio::select! {
            served = axum::serve(listener, app) => served?,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        Ok(())
    }
}

struct Receiver {
    settings: Listen,
    /// Requests by webhook_id.
    seen: Mutex<HashMap<String, u32>>,
}

/// The contents of a request.
struct Message {
    event: String,
    webhook_id: String,
    signature: Verdict,
    standard_signature: Verdict,
    status: StatusCode,
    body: String,
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let message = receiver.read(&headers, &body);
    // A reader of stdout that has gone is no reason to stop receiving.
    let _ = line(&if receiver.settings.json { message.as_json() } else { message.as_text() });
    tokio::time::sleep(receiver.settings.delay).await;
    message.status
}

impl Receiver {
    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Message {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |name: &str| parsed.get(name).and_then(Value::as_str).map(str::to_owned);
        let webhook_id = field("webhook_id").or_else(|| header("webhook-id").map(str::to_owned)).unwrap_or_default();
        let standard = Standard {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
        };
        let secret = self.settings.secret.as_deref();
        Message {
            event: field("event").unwrap_or_default(),
            status: self.status_for(&webhook_id),
            webhook_id,
            signature: signature(header("x-webhook-signature"), body, secret),
            standard_signature: standard.verify(body, secret),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn status_for(&self, webhook_id: &str) -> StatusCode {
        let Some(failures) = self.settings.fail_first else { return status(self.settings.status.unwrap_or(200)) };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(webhook_id.to_owned()).or_default();
        *count += 1;
        if *count <= failures { status(self.settings.status.unwrap_or(500)) } else { StatusCode::OK }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("the flag takes 200 to 599")
}

impl Message {
    fn as_json(&self) -> String {
        json!({
            "event": self.event,
            "webhook_id": self.webhook_id,
            "signature": self.signature.name(),
            "standard_signature": self.standard_signature.name(),
            "status": self.status.as_u16(),
            "body": self.body,
        })
        .to_string()
    }

    fn as_text(&self) -> String {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let pretty = serde_json::from_str::<Value>(&self.body).and_then(|body| serde_json::to_string_pretty(&body));
        format!(
            "\n{time}  {}  {}  → {}\n  X-Webhook-Signature: {}   webhook-signature: {}\n{}",
            tame_line(&self.event),
            tame_line(&self.webhook_id),
            self.status.as_u16(),
            self.signature.marked(),
            self.standard_signature.marked(),
            tame(&pretty.unwrap_or_else(|_| self.body.clone())),
        )
    }
}
