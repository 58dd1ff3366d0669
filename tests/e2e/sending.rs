//! The way out to the receivers: connections are kept, counted and shared, and what this machine lacks costs no webhook
//! anything.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tests::{Answer, Cluster, Database, Known, NameServer, Receiver, SECRET, Sidecar, eventually};

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

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_whose_name_servers_are_silent_hold_up_nobody() {
    let (db, names) = (Cluster::shared().await.database().await, NameServer::start().await);
    for number in 0..40 {
        let name = format!("silent{number}.internal");
        names.set(&name, Known::Silent);
        db.register(&format!("http://{name}/"), "*", SECRET).await;
    }
    let receiver = Receiver::start().await;
    names.set("healthy.internal", Known::At(vec![LOCALHOST]));
    db.register(&format!("http://healthy.internal:{}/", receiver.port()), "*", SECRET).await;
    let _sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_RESOLVER", &names.address())]);
    for number in 1..=3 {
        let began = Instant::now();
        db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 20)").await;
        receiver.wait_at("/", 20 * number).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    eventually(Duration::from_secs(20), "the silent ones fail", async || {
        let error = "DNS lookup failed: silent7.internal (no name server answered in time)";
        db.one::<bool>(&format!("SELECT EXISTS (SELECT FROM webhooks.attempt WHERE error = '{error}')"))
            .await
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_resolver_that_fails_is_our_fault_and_a_name_that_is_not_is_the_receivers() {
    let (db, names) = (Cluster::shared().await.database().await, NameServer::start().await);
    for name in ["a.internal", "b.internal", "c.internal", "d.internal"] {
        names.set(name, Known::Broken);
        db.register(&format!("http://{name}/"), "*", SECRET).await;
    }
    db.register("http://nobody.internal/", "*", SECRET).await;
    let _sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_RESOLVER", &names.address())]);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let attempts: Vec<(String, bool)> = eventually(Duration::from_secs(20), "five attempts", async || {
        let attempts = db.json("SELECT error, coalesce(ours, false) AS ours FROM webhooks.attempt").await;
        let read = |one: &serde_json::Value| (one["error"].to_string(), one["ours"] == true);
        (attempts.len() == 5).then(|| attempts.iter().map(read).collect())
    })
    .await;
    let failed = attempts.iter().filter(|(error, _)| error.contains("the name server answered: "));
    assert_eq!(failed.filter(|(_, ours)| *ours).count(), 2, "from the third on: {attempts:?}");
    let nobody = (r#""DNS lookup failed: nobody.internal""#.to_owned(), false);
    assert!(attempts.contains(&nobody), "{attempts:?}");
}

/// Takes no connection and refuses none on a port of an address: its queue is full.
struct BlackHole {
    _listener: std::net::TcpListener,
    _queued: Vec<tokio::task::JoinHandle<std::io::Result<tokio::net::TcpStream>>>,
}

impl BlackHole {
    async fn at(address: Ipv4Addr, port: u16) -> BlackHole {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((address, port).into()).expect("the port is free there");
        let listener = socket.listen(0).expect("it listens").into_std().expect("it is a socket");
        let connect = move || tokio::spawn(tokio::net::TcpStream::connect((address, port)));
        let queued: Vec<_> = std::iter::repeat_with(connect).take(8).collect();
        eventually(Duration::from_secs(10), "the queue is full", async || {
            let dialled = tokio::net::TcpStream::connect((address, port));
            tokio::time::timeout(Duration::from_millis(300), dialled).await.is_err().then_some(())
        })
        .await;
        BlackHole { _listener: listener, _queued: queued }
    }
}

#[tokio::test]
async fn a_name_whose_first_address_is_dead_is_delivered_to_at_its_second() {
    let (db, names) = (Cluster::shared().await.database().await, NameServer::start().await);
    let receiver = Receiver::start().await;
    let dead = Ipv4Addr::new(127, 0, 0, 2);
    let _hole = BlackHole::at(dead, receiver.port()).await;
    names.set("both.internal", Known::At(vec![dead, LOCALHOST]));
    db.register(&format!("http://both.internal:{}/", receiver.port()), "*", SECRET).await;
    let _sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_RESOLVER", &names.address())]);
    let began = Instant::now();
    assert_eq!(deliver(&db, 1, 1).await, 1, "the first attempt");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    receiver.answer("/", Answer::status(200).header("Connection", "close"));
    let began = Instant::now();
    assert_eq!(deliver(&db, 5, 1).await, 6);
    assert!(began.elapsed() < Duration::from_secs(2), "the dead one comes last now: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_receiver_that_takes_no_connection_fails_within_seconds() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    let dead = Ipv4Addr::new(127, 0, 0, 3);
    let _hole = BlackHole::at(dead, receiver.port()).await;
    db.register(&format!("http://{dead}:{}/", receiver.port()), "*", SECRET).await;
    let _sidecar = Sidecar::start(&db);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let error = eventually(Duration::from_secs(15), "an attempt", async || {
        db.all::<String>("SELECT error FROM webhooks.attempt").await.pop()
    });
    assert_eq!(error.await, "Connection timed out");
}
