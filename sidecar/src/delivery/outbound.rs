//! How receivers are dialled: names, policy, timeouts. The sender and `doctor` share it, so that doctor meets what the
//! sender meets. Every address is vetted at the moment it is dialled.

use moka::sync::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Url};
use std::error::Error;
use std::iter::successors;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tower::util::MapFutureLayer;
use url::Host;

use super::dial::{self, Dial};
use super::egress::{EgressPolicy, TargetError};
use super::failure::Failure;
use super::resolver::Resolver;
use crate::settings::OutboundSettings;

/// How long name, connection and TLS may take. The addresses of a name share it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So many addresses of a name are tried, so that each has its share of the time.
const MAX_ADDRESSES: usize = 4;
/// How long an address that did not connect, where a later one did, comes last.
const PASSED_OVER_TIME: Duration = Duration::from_secs(60);
const MAX_PASSED_OVER: u64 = 10_000;

/// How receivers are dialled; cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    egress: EgressPolicy,
    resolver: Resolver,
    passed_over: Cache<IpAddr, ()>,
}

/// A connection was opened, which was all that was asked for.
#[derive(Debug, Error)]
#[error("connected")]
struct Connected;

impl Outbound {
    /// Dials as `settings` say.
    pub fn new(settings: &OutboundSettings) -> anyhow::Result<Self> {
        Ok(Self {
            egress: EgressPolicy::new(&settings.allow_nets),
            resolver: Resolver::new(settings.resolver)?,
            passed_over: Cache::builder().max_capacity(MAX_PASSED_OVER).time_to_live(PASSED_OVER_TIME).build(),
        })
    }

    /// Vets an address in a URL: the client dials it without asking the resolver.
    pub fn vet(&self, url: &Url) -> Result<(), TargetError> {
        literal_ip(url).map_or(Ok(()), |ip| self.egress.check(ip))
    }

    /// A client that dials so, and follows no redirect.
    pub fn client(&self) -> ClientBuilder {
        Client::builder()
            .dns_resolver(Arc::new(self.clone()))
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connector_layer(MapFutureLayer::new(note_dial))
    }

    /// Opens a connection to a receiver as a request would, and sends nothing.
    pub async fn connect(&self, url: &Url) -> Result<(), Failure> {
        self.vet(url)?;
        let client = self.client().connector_layer(MapFutureLayer::new(hang_up)).build();
        let client = client.map_err(|error| Failure::of(&error))?;
        match client.head(url.clone()).send().await {
            Err(error) if !is_connected(&error) => Err(Failure::of(&error)),
            _ => Ok(()),
        }
    }

    /// Puts the addresses that did not connect, where `peer` did, last for a while.
    pub fn learn_from(&self, dial: &Dial, peer: IpAddr) {
        let addresses = dial.addresses();
        if addresses.contains(&peer) {
            addresses.iter().take_while(|ip| **ip != peer).for_each(|ip| self.passed_over.insert(*ip, ()));
            self.passed_over.invalidate(&peer);
        }
    }

    /// The addresses that are dialled for a name, in this order.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, TargetError> {
        let mut addresses = self.egress.vet(&self.resolver.look_up(host).await?)?;
        addresses.sort_by_key(|ip| self.passed_over.contains_key(ip));
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }
}

impl Resolve for Outbound {
    fn resolve(&self, name: Name) -> Resolving {
        let outbound = self.clone();
        Box::pin(async move {
            let addresses = outbound.addresses(name.as_str()).await?;
            dial::note_addresses(&addresses);
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// The address in a URL that has one in the place of a name.
pub fn literal_ip(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

/// Notes when a dial of this task's request is done.
async fn note_dial<D: Future>(connect: D) -> D::Output {
    let connection = connect.await;
    dial::note_done();
    connection
}

/// Ends a request whose connection is open.
async fn hang_up<D, C, E>(connect: D) -> Result<C, E>
where
    D: Future<Output = Result<C, E>>,
    E: From<Connected>,
{
    connect.await?;
    Err(E::from(Connected))
}

fn is_connected(error: &reqwest::Error) -> bool {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |&cause| cause.source()).any(|cause| cause.is::<Connected>())
}
