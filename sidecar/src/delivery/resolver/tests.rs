//! The resolver against a name server of the test's own, on a loopback address. (delivery/resolver/tests.rs)

use super::*;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{RData, Record};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;

/// A name server that knows `receiver.internal` and `both.internal`, fails for `broken.internal`, is silent for
/// `silent….internal` and for the IPv6 addresses of `half.internal`, and knows no other name.
struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let (address, asked) = (socket.local_addr().expect("it is bound"), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut packet = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&packet[..length]) {
                    socket.send_to(&answer, client).await.expect("the client listens");
                }
            }
        });
        Self { address, asked }
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(Some(self.address)).expect("it needs no file")
    }
}

fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(packet).expect("a question");
    let question = message.queries[0].clone();
    let host = question.name().to_string().to_lowercase();
    let is_v4 = question.query_type() == RecordType::A;
    message = message.into_response();
    let data = match host.split('.').next().expect("a label") {
        silent if silent.starts_with("silent") => return None,
        "half" if !is_v4 => return None,
        "receiver" | "half" | "both" if is_v4 => RData::A(Ipv4Addr::new(127, 0, 0, 9).into()),
        "both" => RData::AAAA("::1".parse::<std::net::Ipv6Addr>().expect("an address").into()),
        "receiver" => return message.to_vec().ok(),
        label => {
            message.metadata.response_code =
                if label == "broken" { ResponseCode::ServFail } else { ResponseCode::NXDomain };
            return message.to_vec().ok();
        }
    };
    message.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    message.to_vec().ok()
}

async fn cause(resolver: &Resolver, host: &str) -> LookupCause {
    resolver.look_up(host).await.expect_err(host).cause
}

#[tokio::test]
async fn a_name_that_is_not_is_told_from_a_server_that_fails_or_is_silent() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    assert_eq!(*resolver.look_up("receiver.internal").await.unwrap(), ["127.0.0.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(cause(&resolver, "nobody.internal").await, LookupCause::NotFound);
    assert!(
        matches!(cause(&resolver, "broken.internal").await, LookupCause::Failed(how) if how.contains("Server Failure"))
    );
    let began = Instant::now();
    assert_eq!(cause(&resolver, "silent.internal").await, LookupCause::Silent);
    assert!(began.elapsed() < DEADLINE + Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn names_whose_servers_do_not_answer_delay_no_other_name() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let silent: Vec<_> = (0..40)
        .map(|number| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.look_up(&format!("silent{number}.internal")).await })
        })
        .collect();
    while server.asked.load(Ordering::Relaxed) < 40 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    resolver.look_up("receiver.internal").await.expect("it is known");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(silent.iter().all(|look_up| !look_up.is_finished()), "they still wait");
}

#[tokio::test]
async fn a_family_whose_server_is_silent_holds_up_the_other_for_a_moment_only() {
    let server = NameServer::start().await;
    let began = Instant::now();
    assert_eq!(server.resolver().look_up("half.internal").await.expect("it has one address").len(), 1);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(server.resolver().look_up("both.internal").await.expect("it has two").len(), 2);
}

#[tokio::test]
async fn concurrent_callers_share_one_query_and_later_ones_its_answer() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let all = (0..32).map(|_| resolver.look_up("receiver.internal"));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    resolver.found.invalidate_all();
    resolver.look_up("receiver.internal").await.expect("it is known");
    assert!(server.asked.load(Ordering::Relaxed) <= 4, "one question for each family, and one more for what has none");
}

#[tokio::test]
async fn localhost_is_this_machine_and_invalid_is_nobody_whatever_a_server_says() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let local = resolver.look_up("localhost").await.expect("it is this machine");
    assert!(local.iter().all(IpAddr::is_loopback), "{local:?}");
    assert_eq!(cause(&resolver, "receiver.invalid").await, LookupCause::NotFound);
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_search_list_is_tried_before_a_name_without_dots_and_after_one_with() {
    let mut system = System::read(Some((Ipv4Addr::LOCALHOST, 53).into())).expect("it needs no file");
    system.search = [Name::from_ascii("svc.internal.").unwrap()].into();
    let candidates = |host: &str| {
        system.candidates(Name::from_str_relaxed(host).unwrap()).iter().map(Name::to_string).collect::<Vec<_>>()
    };
    assert_eq!(candidates("shop"), ["shop.svc.internal.", "shop."]);
    assert_eq!(candidates("shop.example"), ["shop.example.", "shop.example.svc.internal."]);
    assert_eq!(candidates("shop.example."), ["shop.example."]);
}
