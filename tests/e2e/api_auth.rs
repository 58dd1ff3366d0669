//! Who may use the REST API: tokens, the browser's cookie, and how often.

use std::time::Duration;

use serde_json::json;
use tests::{Api, Cluster, Reply, eventually, send, with_json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const LIST: &str = "/api/v1/webhooks";

#[tokio::test]
async fn every_operation_takes_a_token_and_every_change_one_that_may_manage() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let reader = api.caller(&db.token("reader", "read").await);
    let document = api.stranger().get("/api/openapi.json").await.json();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|_| path.starts_with("/api/v1/")) {
            operations += 1;
            let stranger = send(api.stranger().request(&method.to_uppercase(), path)).await;
            assert_eq!(stranger.error(401), "unauthorized", "{method} {path}");
            assert!(stranger.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")));
            if method != "get" {
                let refused = send(reader.request(&method.to_uppercase(), path)).await;
                assert_eq!(refused.error(403), "forbidden", "{method} {path}");
            }
        }
    }
    assert!(operations >= 18, "{operations}");
    reader.get(LIST).await.data(200);
}

#[tokio::test]
async fn a_revoked_token_ends_within_five_seconds() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let token = db.token("short", "read").await;
    let caller = api.caller(&token);
    caller.get(LIST).await.data(200);
    db.run(&format!("SELECT webhooks.revoke_token('{token}')")).await;
    // Not any failure: on a busy machine a session may be long in coming, which is a 503.
    let refused = eventually(Duration::from_secs(5), "the token is refused", async || {
        Some(caller.get(LIST).await).filter(|reply| reply.status == 401)
    })
    .await;
    assert_eq!(refused.error(401), "unauthorized");
    assert!(refused.text.contains("revoked") && !refused.text.contains(&token), "{refused:?}");
}

#[tokio::test]
async fn an_expired_token_and_one_that_is_none_are_refused() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let soon = "SELECT webhooks.create_token('soon', 'read', clock_timestamp() + interval '200 ms')";
    let caller = api.caller(&db.one::<String>(soon).await);
    let refused = eventually(Duration::from_secs(5), "the token expires", async || {
        Some(caller.get(LIST).await).filter(|reply| reply.status == 401)
    })
    .await;
    assert!(refused.error(401) == "unauthorized" && refused.text.contains("expired"), "{refused:?}");
    for none in ["pgw_x", "'", "%00", "é", ""] {
        assert_eq!(api.caller(none).get(LIST).await.error(401), "unauthorized", "{none:?}");
    }
    let basic = api.stranger().request("GET", LIST).header("authorization", "Basic YTpi");
    assert_eq!(send(basic).await.error(401), "unauthorized");
}

/// Logs in and returns the answer with the cookie.
async fn log_in(api: &Api, token: &str) -> Reply {
    api.stranger().post("/session", json!({"token": token})).await
}

/// The cookie as a browser sends it back.
fn cookie(reply: &Reply) -> &str {
    reply.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie")
}

#[tokio::test]
async fn a_browser_logs_in_looks_and_logs_out() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    assert_eq!(log_in(&api, "pgw_none").await.error(401), "unauthorized");
    assert_eq!(api.stranger().get("/session").await.error(401), "unauthorized");

    let token = db.token("dashboard", "read").await;
    let reply = log_in(&api, &token).await;
    let data = reply.data(200);
    assert_eq!((&data["token"]["name"], &data["token"]["role"]), (&json!("dashboard"), &json!("read")));
    assert!(!reply.text.contains(&token), "the answer does not repeat the token");
    let set = reply.header("set-cookie").unwrap();
    assert!(set.starts_with("pgw_session="), "{set}");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    assert!(!set.contains("Secure"), "plain http: the browser would drop it");
    let with_cookie = |method, path| api.stranger().request(method, path).header("cookie", cookie(&reply));
    assert_eq!(send(with_cookie("GET", "/session")).await.data(200), data);
    send(with_cookie("GET", LIST)).await.data(200);

    let own = with_cookie("DELETE", "/session").header("x-requested-with", "pg-webhooks");
    let out = send(own.header("sec-fetch-site", "same-origin")).await;
    assert!(out.data(200).is_object() && out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");

    let https = with_json(api.stranger().request("POST", "/session"), &json!({"token": token}));
    let secure = send(https.header("x-forwarded-proto", "https")).await;
    assert!(secure.header("set-cookie").unwrap().contains("Secure"), "{secure:?}");
}

#[tokio::test]
async fn a_cookie_writes_only_from_a_page_of_this_server() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let reply = log_in(&api, api.token.as_deref().unwrap()).await;
    let body = json!({"url": "https://example.com/", "events": ["*"]});
    let origin = format!("http://{}", api.address);
    let marked = ("x-requested-with", "pg-webhooks");
    let write = async |headers: &[(&str, &str)]| {
        let request = with_json(api.stranger().request("POST", LIST), &body).header("cookie", cookie(&reply));
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    for refused in [
        &[][..],
        &[marked],
        &[("sec-fetch-site", "same-origin")],
        &[marked, ("sec-fetch-site", "same-site")],
        &[marked, ("sec-fetch-site", "cross-site"), ("origin", &origin)],
        &[marked, ("origin", "http://evil.example")],
        &[marked, ("origin", "null")],
        &[("x-requested-with", "XMLHttpRequest"), ("origin", &origin)],
    ] {
        assert_eq!(write(refused).await.error(403), "csrf", "{refused:?}");
    }
    write(&[marked, ("sec-fetch-site", "same-origin")]).await.data(201);
    write(&[marked, ("origin", &origin)]).await.data(201);
    assert_eq!(api.get(LIST).await.data(200)["webhooks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn who_trickles_the_body_of_a_login_holds_up_nobody() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let head = b"POST /session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let mut trickling = Vec::new();
    for _ in 0..100 {
        let mut connection = TcpStream::connect(api.address).await.expect("it listens");
        connection.write_all(head).await.expect("it reads");
        trickling.push(connection);
    }
    log_in(&api, api.token.as_deref().expect("it has one")).await.data(200);
    api.stranger().get("/healthz").await.data(200);
    api.get(LIST).await.data(200);
}

#[tokio::test]
async fn a_token_is_slowed_down_and_others_are_not() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start_with(&db, &[("PG_WEBHOOKS_API_RATE", "1")]).await;
    let mut refused = None;
    for _ in 0..40 {
        let reply = api.get("/api/v1/event-types").await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("forty in a row are more than two and one a second");
    assert_eq!(refused.error(429), "rate_limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    api.caller(&db.token("other", "read").await).get(LIST).await.data(200);
}

#[tokio::test]
async fn an_address_that_guesses_is_shut_out_and_a_valid_token_from_it_is_not() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    api.get(LIST).await.data(200);
    let guesser = api.caller("pgw_guess");
    assert_eq!(guesser.get(LIST).await.error(401), "unauthorized");
    let mut refused = None;
    for _ in 0..60 {
        let reply = guesser.get(LIST).await;
        if reply.status != 401 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("sixty in a row are more than ten and one a second");
    assert!(refused.error(429) == "rate_limited" && refused.header("retry-after").is_some(), "{refused:?}");
    api.get(LIST).await.data(200);
    let newcomer = api.caller(&db.token("newcomer", "read").await);
    newcomer.get(LIST).await.data(200);
    let elsewhere = guesser.request("GET", LIST).header("x-forwarded-for", "10.1.1.1, 192.0.2.7");
    assert_eq!(send(elsewhere).await.error(401), "unauthorized", "the proxy on this machine says who calls");
}
