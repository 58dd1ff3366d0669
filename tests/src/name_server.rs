//! A name server on a loopback port. It knows the names that the test gives it, and fails or is silent as told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

const TYPE_A: u8 = 1;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// What the server says of a name.
#[derive(Clone, Debug)]
pub enum Known {
    /// It has these addresses.
    At(Vec<Ipv4Addr>),
    /// The server fails.
    Broken,
    /// The server says nothing.
    Silent,
}

/// A running name server; it ends with the test's runtime. Of a name that it was not given it says that there is none.
pub struct NameServer {
    address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Known>>>,
}

impl NameServer {
    /// Answers on a free port.
    pub async fn start() -> NameServer {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let names = Arc::new(Mutex::new(HashMap::new()));
        let known = names.clone();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                if let Some(answer) = answer(&packet[..length], &known) {
                    socket.send_to(&answer, client).await.expect("loopback takes it");
                }
            }
        });
        NameServer { address, names }
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on says this of a name.
    pub fn set(&self, name: &str, known: Known) {
        self.names.lock().expect("nobody panics under it").insert(name.to_owned(), known);
    }
}

/// Answers a packet with one question: the header's 12 bytes, the name's labels, type and class.
fn answer(packet: &[u8], names: &Mutex<HashMap<String, Known>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let end = at + 1 + usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..end]).to_lowercase());
        at = end;
    }
    let (is_v4, end) = (packet[at + 2] == TYPE_A, at + 5);
    let known = names.lock().expect("nobody panics under it").get(&labels.join(".")).cloned();
    let (code, addresses) = match known {
        Some(Known::At(addresses)) => (0, if is_v4 { addresses } else { Vec::new() }),
        Some(Known::Broken) => (SERVFAIL, Vec::new()),
        Some(Known::Silent) => return None,
        None => (NXDOMAIN, Vec::new()),
    };
    let count = u8::try_from(addresses.len()).expect("few addresses");
    let mut answer = packet[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&packet[12..end]);
    for address in addresses {
        // The name is that of the question; class IN, one minute, four bytes.
        answer.extend([0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
