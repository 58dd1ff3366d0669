//! The tests themselves: what they would not notice proves nothing.

use tests::Cluster;

#[tokio::test]
async fn an_entry_that_an_index_of_ours_lacks_does_not_go_unnoticed() {
    let cluster = Cluster::own().await;
    let db = cluster.database().await;
    db.run("SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 's')").await;
    let index: u32 =
        db.one("SELECT indexrelid FROM pg_index WHERE indrelid = 'webhooks.subscription'::regclass LIMIT 1").await;
    assert_eq!(cluster.damage(), None);

    db.run(&format!("UPDATE pg_index SET indisready = false WHERE indexrelid = {index}")).await;
    db.run("SELECT webhooks.register('http://127.0.0.1:9/', '{product.*}', 's')").await;
    db.run(&format!("UPDATE pg_index SET indisready = true WHERE indexrelid = {index}")).await;
    let damage = cluster.damage().expect("an entry is missing");
    assert!(damage.contains("lacks matching index tuple"), "{damage}");

    db.run("REINDEX TABLE webhooks.subscription").await;
}
