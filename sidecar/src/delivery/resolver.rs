//! Names to addresses, as the system's own resolver finds them: in /etc/hosts, then from the name servers of
//! /etc/resolv.conf. No look-up takes a thread, so names whose servers do not answer hold up no other name. Answers are
//! cached for as long as they say; concurrent callers share one query. Nothing here judges an address.

use futures_util::future::{Either, select};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError, runtime::TokioRuntimeProvider};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf::read_system_conf};
use moka::future::Cache;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::time::timeout;

/// How long a look-up may take in all.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long one name server may take, so that there is time to ask again within the deadline.
const MAX_QUERY_TIME: Duration = Duration::from_millis(1600);
const MAX_REPEATED_QUERIES: usize = 2;
/// How long the addresses of one family wait for those of the other (RFC 8305).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long what was found, or not, is not looked up again. Beyond it the time counts that the answer says.
const SHARED_TIME: Duration = Duration::from_secs(1);
/// A name that is made is found after so long, whatever the answer says that there was none.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(60);
const MAX_CACHED_NAMES: u64 = 10_000;
const MAX_CONCURRENT_QUERIES: usize = 10_000;
/// How often to see whether the system's files have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Why a name has no address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("DNS lookup failed: {name}{cause}")]
pub struct LookupError {
    pub name: String,
    pub cause: LookupCause,
}

/// What a look-up that found nothing met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupCause {
    /// There is no such name, or it has no address.
    NotFound,
    /// A name server answered that it failed, and how: SERVFAIL, as a rule.
    Failed(String),
    /// No name server answered in time.
    Silent,
    /// No name server could be asked.
    Unreachable,
}

impl fmt::Display for LookupCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => Ok(()),
            Self::Failed(how) => write!(f, " (the name server answered: {how})"),
            Self::Silent => f.write_str(" (no name server answered in time)"),
            Self::Unreachable => f.write_str(" (no name server can be reached)"),
        }
    }
}

/// Looks names up; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    found: Cache<String, Result<Arc<[IpAddr]>, LookupCause>>,
    /// The name server to ask in place of the system's.
    server: Option<SocketAddr>,
    system: Arc<Mutex<System>>,
}

/// What the system's files say.
#[derive(Clone)]
struct System {
    dns: TokioResolver,
    hosts: Arc<Hosts>,
    search: Arc<[Name]>,
    changed_at: [Option<SystemTime>; 2],
    checked_at: Instant,
}

impl Resolver {
    /// Asks `server`, or the system's name servers.
    pub fn new(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        let found = Cache::builder().max_capacity(MAX_CACHED_NAMES).time_to_live(SHARED_TIME).build();
        Ok(Self { found, server, system: Arc::new(Mutex::new(System::read(server)?)) })
    }

    /// Returns the addresses of `host`, at least one, IPv6 first where this machine has a route for it.
    pub async fn look_up(&self, host: &str) -> Result<Arc<[IpAddr]>, LookupError> {
        let look_up = async {
            let found = timeout(DEADLINE, self.system().look_up(host)).await;
            found.unwrap_or(Err(LookupCause::Silent)).map(|found| in_order(found).into())
        };
        let found = self.found.get_with_by_ref(host, look_up).await;
        found.map_err(|cause| LookupError { name: host.to_owned(), cause })
    }

    /// What the system's files say now.
    fn system(&self) -> System {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if system.checked_at.elapsed() >= RELOAD_INTERVAL {
            system.checked_at = Instant::now();
            if system.changed_at != changed_at()
                && let Ok(changed) = System::read(self.server)
            {
                *system = changed;
            }
        }
        system.clone()
    }
}

impl System {
    fn read(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        let changed_at = changed_at();
        let (config, mut options) = match server {
            Some(server) => (only(server), ResolverOpts::default()),
            // Without a usable file the server is on this machine, as resolv.conf(5) says.
            None => {
                read_system_conf().unwrap_or_else(|_| (only((Ipv4Addr::LOCALHOST, 53).into()), ResolverOpts::default()))
            }
        };
        options.timeout = options.timeout.min(MAX_QUERY_TIME);
        options.attempts = MAX_REPEATED_QUERIES;
        options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
        options.cache_size = MAX_CACHED_NAMES;
        options.max_active_requests = MAX_CONCURRENT_QUERIES;
        options.use_hosts_file = ResolveHosts::Never;
        let search = config.search().into();
        let mut dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *dns.options_mut() = options;
        Ok(Self {
            dns: dns.build()?,
            hosts: Arc::new(Hosts::from_system().unwrap_or_default()),
            search,
            changed_at,
            checked_at: Instant::now(),
        })
    }

    /// Tries the names that `host` may stand for. A server that failed for one of them decides over others that there
    /// are not, so that a search list does not hide it.
    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, LookupCause> {
        let Ok(name) = Name::from_str_relaxed(host) else { return Err(LookupCause::NotFound) };
        let mut worst = LookupCause::NotFound;
        for name in self.candidates(name) {
            match self.addresses(&name).await {
                Err(LookupCause::NotFound) => {}
                Err(cause) => worst = cause,
                found => return found,
            }
        }
        Err(worst)
    }

    /// The name itself and, unless it ends with a dot, with each suffix of the search list: first, where it has few dots.
    fn candidates(&self, mut name: Name) -> Vec<Name> {
        let is_complete = name.is_fqdn() || name.is_localhost();
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        name.set_fqdn(true);
        if is_complete {
            return vec![name];
        }
        let mut candidates: Vec<Name> = self
            .search
            .iter()
            .filter_map(|suffix| {
                let mut relative = name.clone();
                relative.set_fqdn(false);
                relative.append_domain(suffix).ok()
            })
            .collect();
        let is_first = dots >= self.dns.options().ndots || self.static_addresses(&name).next().is_some();
        candidates.insert(if is_first { 0 } else { candidates.len() }, name);
        candidates
    }

    /// The addresses in /etc/hosts.
    fn static_addresses(&self, name: &Name) -> impl Iterator<Item = IpAddr> {
        let found = [RecordType::AAAA, RecordType::A]
            .map(|family| self.hosts.lookup_static_host(&Query::query(name.clone(), family)));
        let records = found.into_iter().flatten();
        records
            .flat_map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
    }

    /// The addresses of both families. One whose server is silent does not hold up the other.
    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, LookupCause> {
        let known: Vec<IpAddr> = self.static_addresses(name).collect();
        if !known.is_empty() {
            return Ok(known);
        }
        let queries = [RecordType::AAAA, RecordType::A].map(|family| Box::pin(self.query(name, family)));
        let [v6, v4] = queries;
        let (Either::Left((first, other)) | Either::Right((first, other))) = select(v6, v4).await;
        match first {
            Ok(mut addresses) => {
                addresses.extend(timeout(RESOLUTION_DELAY, other).await.into_iter().flatten().flatten());
                Ok(addresses)
            }
            Err((_, true)) => Err(LookupCause::NotFound),
            Err((cause, false)) => match other.await {
                Err((LookupCause::NotFound, false)) => Err(cause),
                other => other.map_err(|(cause, _)| cause),
            },
        }
    }

    /// The addresses of one family, at least one; or why not, and whether there is no such name at all.
    async fn query(&self, name: &Name, family: RecordType) -> Result<Vec<IpAddr>, (LookupCause, bool)> {
        let answer = self.dns.lookup(name.clone(), family).await.map_err(|error| match error {
            NetError::Dns(DnsError::NoRecordsFound(no)) => {
                (LookupCause::NotFound, no.response_code == ResponseCode::NXDomain)
            }
            NetError::Dns(DnsError::ResponseCode(code)) => (LookupCause::Failed(code.to_string()), false),
            NetError::Dns(other) => (LookupCause::Failed(other.to_string()), false),
            NetError::Timeout => (LookupCause::Silent, false),
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => (LookupCause::Unreachable, false),
            other => (LookupCause::Failed(other.to_string()), false),
        })?;
        let addresses: Vec<IpAddr> = answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() { Err((LookupCause::NotFound, false)) } else { Ok(addresses) }
    }
}

/// When the system's files were changed last.
fn changed_at() -> [Option<SystemTime>; 2] {
    FILES.map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok())
}

/// A configuration with one name server, and no search list.
fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections.into())])
}

/// IPv6 first, or last where this machine has no route to it. The client tries the families side by side, but one that
/// is sure to fail would delay the other.
fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let v6 = addresses.iter().find(|ip| ip.is_ipv6()).copied();
    let prefers_v4 = v6.is_some_and(|ip| !has_route(ip));
    addresses.sort_by_key(|ip| ip.is_ipv4() != prefers_v4);
    addresses
}

/// Whether packets to `ip` would leave this machine. None is sent.
fn has_route(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv6() { "::".parse().expect("an address") } else { Ipv4Addr::UNSPECIFIED.into() };
    std::net::UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, 9))).is_ok()
}

#[cfg(test)]
mod tests;
