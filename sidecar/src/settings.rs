//! The settings of `serve`: where the database is, where and how requests may go, how much is held at once, and how long
//! things may take. Each value is checked when it is read. `doctor` shares those that say how receivers are dialled.

use anyhow::ensure;
use clap::Args;
use ipnet::IpNet;
use rustls::ClientConfig;
use std::net::{IpAddr, SocketAddr};
use std::{num::NonZeroU32, time::Duration};
use url::Url;

use crate::database::{Database, DatabaseError};
use crate::metadata_addresses::is_metadata;
use crate::outbound_tls::{self, Certificates, ClientKey};

/// The flags of `serve`, or their environment variables.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Database with the extension; the role must be a member of webhooks_sidecar
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    #[command(flatten)]
    pub outbound: OutboundSettings,
    /// Most requests under way, or over and not yet reported: so many may be sent twice after a crash
    #[arg(long, env = "PG_WEBHOOKS_PREFETCH", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub prefetch: u32,
    /// Most requests at once to one endpoint
    #[arg(long, env = "PG_WEBHOOKS_ENDPOINT_IN_FLIGHT", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub endpoint_in_flight: u32,
    /// How long a sidecar that has fallen silent keeps its shards
    #[arg(long, env = "PG_WEBHOOKS_LEASE", default_value = "10s", value_parser = lease)]
    pub lease: Duration,
    /// How long requests under way may take to finish when stopping
    #[arg(long, env = "PG_WEBHOOKS_GRACE", default_value = "10s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Serve the REST API and the page on this address, port 0 for a free one; the role must be in webhooks_api, too
    #[arg(long, env = "PG_WEBHOOKS_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Networks of proxies whose X-Forwarded-For the API believes, comma-separated
    #[arg(long, env = "PG_WEBHOOKS_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',', value_parser = net,
        default_value = "127.0.0.0/8,::1/128")]
    pub trusted_proxies: Vec<IpNet>,
    /// Requests a second that the API accepts with one token; a burst may have twice as many
    #[arg(long, env = "PG_WEBHOOKS_API_RATE", default_value = "50")]
    pub api_rate: NonZeroU32,
    /// How often to look for work while asleep, even if nobody notifies
    #[arg(long, env = "PG_WEBHOOKS_BACKSTOP", default_value = "2s", value_parser = backstop)]
    pub backstop: Duration,
}

/// How receivers are dialled, and which.
#[derive(Args, Clone, Debug)]
pub struct OutboundSettings {
    /// Private networks that deliveries may go to, comma-separated
    #[arg(long, env = "PG_WEBHOOKS_ALLOW_NETS", value_name = "CIDR", value_delimiter = ',', value_parser = net)]
    pub allow_nets: Vec<IpNet>,
    /// Certificate authorities to trust besides the system's, a PEM file
    #[arg(long, env = "PG_WEBHOOKS_CA_FILE", value_name = "FILE", value_parser = Certificates::read)]
    ca_file: Option<Certificates>,
    /// Certificate, with its chain, to show receivers that ask for one, a PEM file
    #[arg(long, env = "PG_WEBHOOKS_CLIENT_CERT", value_name = "FILE", requires = "client_key", value_parser = Certificates::read)]
    client_cert: Option<Certificates>,
    /// The private key of that certificate, a PEM file
    #[arg(long, env = "PG_WEBHOOKS_CLIENT_KEY", value_name = "FILE", requires = "client_cert", value_parser = ClientKey::read)]
    client_key: Option<ClientKey>,
    /// HTTP proxy that all deliveries go through
    #[arg(long, env = "PG_WEBHOOKS_PROXY", hide_env_values = true, value_name = "URL")]
    proxy: Option<String>,
    /// Name server to ask in place of those of /etc/resolv.conf
    #[arg(long, env = "PG_WEBHOOKS_RESOLVER", value_name = "ADDRESS[:PORT]", value_parser = name_server)]
    pub resolver: Option<SocketAddr>,
}

impl Settings {
    /// Reads the connection string.
    pub fn database(&self) -> Result<Database, DatabaseError> {
        self.database_url.parse()
    }
}

impl OutboundSettings {
    /// The TLS that the files lead to.
    pub fn tls(&self) -> anyhow::Result<ClientConfig> {
        outbound_tls::client_config(self.ca_file.as_ref(), self.client_cert.as_ref().zip(self.client_key.as_ref()))
    }

    /// Reads the proxy's URL. A message does not repeat it: it may hold a password.
    pub fn proxy(&self) -> anyhow::Result<Option<Url>> {
        let Some(proxy) = &self.proxy else { return Ok(None) };
        let url: Option<Url> = proxy.parse().ok();
        let is_proxy = url.as_ref().is_some_and(|url| {
            ["http", "https"].contains(&url.scheme()) && url.has_host() && url.path() == "/" && url.query().is_none()
        });
        ensure!(is_proxy, "PG_WEBHOOKS_PROXY is no URL of an HTTP proxy, such as http://proxy.internal:3128");
        Ok(url)
    }
}

/// Reads a network, or an address as a network of one.
fn net(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let net: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "not a network such as 10.0.0.0/8".to_owned())?;
    if net.prefix_len() == net.max_prefix_len() && is_metadata(net.addr()) {
        return Err("the metadata service of a cloud, which is never dialled".to_owned());
    }
    Ok(net)
}

/// Reads the address of a name server, with its port if that is not 53.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| "not an address such as 10.0.0.2 or 10.0.0.2:53".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_secs(1), text)
}

fn backstop(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(100), text)
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (least..=Duration::from_secs(3600)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("must be between {} and 1h", humantime::format_duration(least)))
    }
}
