//! How receivers are dialled: names, policy, timeouts, TLS, proxy. The sender and `doctor` share it, so that doctor meets
//! what the sender meets. Without a proxy every address is vetted at the moment it is dialled. With one the proxy dials:
//! what this machine's resolver says of a name is vetted, all of it, before the proxy is asked.

use moka::sync::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Proxy, Url};
use rustls::ClientConfig;
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
    tls: ClientConfig,
    proxy: Option<Url>,
    passed_over: Cache<IpAddr, ()>,
}

/// A connection was opened, which was all that was asked for.
#[derive(Debug, Error)]
#[error("connected")]
struct Connected;

impl Outbound {
    /// Dials as `settings` say; reads the files that they name.
    pub fn new(settings: &OutboundSettings) -> anyhow::Result<Self> {
        Ok(Self {
            egress: EgressPolicy::new(&settings.allow_nets),
            resolver: Resolver::new(settings.resolver)?,
            tls: settings.tls()?,
            proxy: settings.proxy()?,
            passed_over: Cache::builder().max_capacity(MAX_PASSED_OVER).time_to_live(PASSED_OVER_TIME).build(),
        })
    }

    /// Vets what is not vetted when it is dialled: an address in a URL, for which the client asks no resolver, and the
    /// target of a proxy.
    pub async fn vet(&self, url: &Url) -> Result<(), TargetError> {
        match url.host() {
            Some(Host::Ipv4(ip)) => self.egress.check(ip.into()),
            Some(Host::Ipv6(ip)) => self.egress.check(ip.into()),
            Some(Host::Domain(host)) if self.is_proxied() => {
                let found = self.resolver.look_up(host).await?;
                found.iter().try_for_each(|ip| self.egress.check(*ip))
            }
            _ => Ok(()),
        }
    }

    /// Whether a proxy dials in the place of this machine.
    pub fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// A client that dials so, and follows no redirect.
    pub fn client(&self) -> reqwest::Result<ClientBuilder> {
        let client = Client::builder()
            .dns_resolver(Arc::new(self.clone()))
            .use_preconfigured_tls(self.tls.clone())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connector_layer(MapFutureLayer::new(note_dial));
        Ok(match &self.proxy {
            Some(proxy) => client.proxy(Proxy::all(proxy.clone())?),
            None => client,
        })
    }

    /// Why a request failed. What failed on the way to the proxy is not the receiver's.
    pub fn failure(&self, error: &reqwest::Error) -> Failure {
        let failure = Failure::of(error);
        if !self.is_proxied() || !error.is_connect() {
            return failure;
        }
        match failure {
            // Through the proxy, or so it may be.
            Failure::Tls(_) | Failure::ConnectTimeout | Failure::Reset | Failure::Closed => failure,
            Failure::Other(text) => Failure::Tunnel(text),
            failure => Failure::Proxy(failure.to_string()),
        }
    }

    /// Opens a connection to a receiver as a request would, and sends nothing.
    pub async fn connect(&self, url: &Url) -> Result<(), Failure> {
        self.vet(url).await?;
        let client = self.client().and_then(|client| client.connector_layer(MapFutureLayer::new(hang_up)).build());
        let client = client.map_err(|error| self.failure(&error))?;
        match client.head(url.clone()).send().await {
            Err(error) if !is_connected(&error) => Err(self.failure(&error)),
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

    /// The addresses that are dialled for a name, in this order. The proxy's own are not vetted: the operator chose it.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, TargetError> {
        let found = self.resolver.look_up(host).await?;
        let mut addresses = if self.is_proxied() { found.to_vec() } else { self.egress.vet(&found)? };
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
            if !outbound.is_proxied() {
                dial::note_addresses(&addresses);
            }
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
