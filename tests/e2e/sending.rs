//! The way out to the receivers: connections are kept, counted and shared, and what this machine lacks costs no webhook
//! anything.

use std::time::Duration;

use tests::{Answer, Cluster, Database, Receiver, SECRET, Sidecar, eventually};

/// Emits so many events and waits until all of them were delivered to everybody; returns how many attempts it took.
async fn deliver(db: &Database<'_>, events: i64, to: i64) -> i64 {
    let before: i64 = db.one("SELECT count(*) FROM webhooks.attempt WHERE outcome = 'delivered'").await;
    db.run(&format!("SELECT webhooks.emit('order.paid', '{{}}') FROM generate_series(1, {events})")).await;
    eventually(Duration::from_secs(60), "all is delivered", async || {
        let delivered: i64 = db.one("SELECT count(*) FROM webhooks.attempt WHERE outcome = 'delivered'").await;
        (delivered - before >= events * to).then_some(())
    })
    .await;
    db.one("SELECT count(*) FROM webhooks.attempt").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_few_files_may_be_open_requests_wait_their_turn_and_none_fails() {
    let db = Cluster::shared().await.database().await;
    let mut receivers = Vec::new();
    for _ in 0..40 {
        let receiver = Receiver::start().await;
        receiver.answer("/", Answer::status(200).after(Duration::from_millis(50)));
        db.register(&receiver.url("/"), "*", SECRET).await;
        receivers.push(receiver);
    }
    let sidecar = Sidecar::start_with_at_most_open_files(&db, 64);
    for round in 1..=3 {
        let attempts = deliver(&db, 10, 40).await;
        let errors: Vec<String> = db.all("SELECT DISTINCT error FROM webhooks.attempt WHERE error IS NOT NULL").await;
        assert_eq!((attempts, errors), (round * 400, vec![]));
    }
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.list() WHERE NOT active").await, 0);
    assert!(sidecar.log().contains("few files may be open"), "{}", sidecar.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_share_a_host_and_port_share_its_connections() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    for number in 0..50 {
        let path = format!("/{number}");
        receiver.answer(&path, Answer::status(200).after(Duration::from_millis(20)));
        db.register(&receiver.url(&path), "*", SECRET).await;
    }
    let _sidecar = Sidecar::start(&db);
    deliver(&db, 20, 50).await;
    let warm = receiver.connections();
    deliver(&db, 100, 50).await;
    let opened = receiver.connections() - warm;
    assert!(opened <= 1024 - warm.min(1024) + 50, "{opened} connections for 5,000 deliveries, after {warm}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answers_any_more_it_is_our_fault_and_who_is_silent_alone_is_at_fault_himself() {
    let db = Cluster::shared().await.database().await;
    let mut receivers = Vec::new();
    for network in 1..=5 {
        let receiver = Receiver::start_at(&format!("127.0.{network}.1")).await;
        receiver.answer("/", Answer::hang());
        let id = db.register(&receiver.url("/"), "*", SECRET).await;
        receivers.push((receiver, id));
    }
    db.set("request_timeout", "1s").await;
    let _sidecar = Sidecar::start(&db);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let tried = async || {
        eventually(Duration::from_secs(20), "five attempts", async || {
            let ours: Vec<bool> = db.all("SELECT coalesce(ours, false) FROM webhooks.attempt").await;
            (ours.len() == 5).then_some(ours)
        })
        .await
    };
    let ours = tried().await.iter().filter(|ours| **ours).count();
    assert_eq!(ours, 3, "the first two could have been at fault themselves");

    db.run("TRUNCATE webhooks.attempt").await;
    receivers[0].0.answer("/", Answer::status(200).after(Duration::from_millis(300)));
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    assert!(!tried().await.contains(&true), "somebody answered");
}
