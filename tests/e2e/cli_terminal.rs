//! The command line as a person sees it: it asks before it deletes or sends much, fits the terminal, and is plain where
//! nobody looks or NO_COLOR says so.

use tests::{Cluster, CommandLine, SECRET, Stage};

#[tokio::test]
async fn removing_asks_and_only_yes_deletes() {
    let db = Cluster::shared().await.database().await;
    let cli = CommandLine::new(&db);
    let id = db.register("https://example.com/hook", "*", SECRET).await;
    let endpoints = async || db.one::<i64>("SELECT count(*) FROM webhooks.endpoint").await;
    for no in ["n\n", "\n"] {
        let told = cli.on_terminal(80, no, &["webhooks", "remove", &id]).await;
        assert!(told.status == 1 && without_colour(&told.stdout).contains("https://example.com/hook? "), "{told:?}");
        assert_eq!(endpoints().await, 1);
    }
    let told = cli.on_terminal(80, "y\n", &["webhooks", "remove", &id]).await;
    assert_eq!((told.status, endpoints().await), (0, 0), "{told:?}");
}

#[tokio::test]
async fn a_replay_asks_after_it_has_told_the_count_and_shows_its_progress() {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 5)").await;
    stage.arrived().await;
    let arguments = ["replay", &stage.endpoint, "--since", "1h", "--all"];
    let count = stage.receiver.requests().len();
    let told = cli.on_terminal(100, "n\n", &arguments).await;
    let (counted, asked) = (told.stdout.find("6 messages from"), told.stdout.find("Send them?"));
    assert!(told.status == 1 && counted.is_some() && counted < asked, "{told:?}");
    assert_eq!(stage.receiver.requests().len(), count);
    let told = cli.on_terminal(100, "y\n", &arguments).await;
    assert!(
        told.status == 0 && told.stdout.contains("of 6") && told.stdout.contains("6 delivered, 0 failed"),
        "{told:?}"
    );
    assert_eq!(stage.receiver.requests().len(), count + 6);
}

#[tokio::test]
async fn tables_fit_the_terminal_in_colour_and_are_plain_elsewhere() {
    let stage = Stage::start().await;
    stage
        .db
        .register("https://example.com/a/rather/long/path/to/some/hook", "product.*,stock.low_alert,import.*", "")
        .await;
    stage.db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    stage.arrived().await;
    let cli = CommandLine::new(&stage.db);
    for arguments in [&["webhooks", "list"][..], &["logs"], &["events"], &["status"]] {
        let shown = cli.on_terminal(80, "", arguments).await;
        assert!(shown.status == 0 && shown.stdout.contains("\x1b["), "{arguments:?}: {shown:?}");
        for line in without_colour(&shown.stdout).lines() {
            assert!(line.trim_end().chars().count() <= 80, "{arguments:?}: {line}");
        }
        let plain = cli.run(arguments).await;
        assert!(!plain.stdout.contains(['\x1b', '\t']), "{arguments:?}: {plain:?}");
    }
}

fn without_colour(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}
