//! A sidecar that serves the REST API, and a small client for it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use crate::database::Database;
use crate::deadline::eventually;
use crate::sidecar::Sidecar;

/// A running API. Dereferences to a client whose token may do everything.
pub struct Api {
    /// The process.
    pub sidecar: Sidecar,
    /// Where it listens.
    pub address: SocketAddr,
    manager: Caller,
}

/// Somebody with a token, or without one.
#[derive(Clone)]
pub struct Caller {
    client: Client,
    base: String,
    /// What is sent as Bearer token.
    pub token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub text: String,
}

impl Api {
    /// Starts one on `database`, as a role that has `webhooks_sidecar` and `webhooks_api`.
    pub async fn start(database: &Database<'_>) -> Api {
        Api::start_with(database, &[]).await
    }

    /// Starts one with more environment variables.
    pub async fn start_with(database: &Database<'_>, environment: &[(&str, &str)]) -> Api {
        let url = database.url("server");
        // Waiting for a condition asks often.
        let rate = ("PG_WEBHOOKS_API_RATE", "10000");
        let own = [("DATABASE_URL", url.as_str()), ("PG_WEBHOOKS_LISTEN", "127.0.0.1:0"), rate];
        let environment: Vec<_> = own.into_iter().chain(environment.iter().copied()).collect();
        let sidecar = Sidecar::start_with(database, &environment);
        let address = eventually(Duration::from_secs(20), "the API listens", async || sidecar.listens_on()).await;
        let token = database.token("test", "manage").await;
        let manager = Caller { client: Client::new(), base: format!("http://{address}"), token: Some(token) };
        Api { sidecar, address, manager }
    }

    /// Who has this token.
    pub fn caller(&self, token: &str) -> Caller {
        Caller { token: Some(token.to_owned()), ..self.manager.clone() }
    }

    /// Who has none.
    pub fn stranger(&self) -> Caller {
        Caller { token: None, ..self.manager.clone() }
    }
}

impl Deref for Api {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.manager
    }
}

impl Caller {
    /// A request with the caller's token, to be made by [`send`].
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        send(self.request("GET", path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        send(self.request("DELETE", path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        send(with_json(self.request("POST", path), &body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        send(with_json(self.request("PUT", path), &body)).await
    }

    /// POST without a body.
    pub async fn order(&self, path: &str) -> Reply {
        send(self.request("POST", path)).await
    }
}

/// A request with a JSON body.
pub fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Reply {
    let response: Response = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
    let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Reply { status: response.status().as_u16(), headers, text: response.text().await.expect("a whole answer") }
}

impl Reply {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `data` of a success with this status.
    pub fn data(&self, status: u16) -> Value {
        assert_eq!((self.status, &self.json()["status"]), (status, &"success".into()), "{self:?}");
        self.json()["data"].clone()
    }

    /// `error.code` of a failure with this status, which has a message.
    pub fn error(&self, status: u16) -> String {
        assert_eq!((self.status, &self.json()["status"]), (status, &"error".into()), "{self:?}");
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        error["code"].as_str().expect("a code").to_owned()
    }
}
