//! Where requests may go: public addresses, and the private networks that the operator permits, but never the metadata
//! services of clouds. The resolver vets every address before it is dialled, so the address checked is the address
//! dialled; a URL with an address in it is vetted before the request.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use thiserror::Error;

use super::resolver::LookupError;

use crate::metadata_addresses::is_metadata;

/// Why an endpoint is not dialled.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    #[error("Refused to connect to {0}: not a public address (PG_WEBHOOKS_ALLOW_NETS permits it)")]
    Private(IpAddr),
    #[error("Refused to connect to {0}: the metadata service of a cloud, which no setting permits")]
    Metadata(IpAddr),
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// Where requests may go; cheap to clone.
#[derive(Clone, Debug)]
pub struct EgressPolicy {
    allowed: Arc<[IpNet]>,
}

impl EgressPolicy {
    /// Permits public addresses and those in `allowed`.
    pub fn new(allowed: &[IpNet]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Whether `ip` may be dialled.
    pub fn check(&self, ip: IpAddr) -> Result<(), TargetError> {
        if is_metadata(ip) {
            Err(TargetError::Metadata(ip))
        } else if is_public(ip) || self.allows(ip) {
            Ok(())
        } else {
            Err(TargetError::Private(ip))
        }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        self.allowed.iter().any(|net| net.contains(&ip) || net.contains(&ip.to_canonical()))
    }

    /// Keeps the addresses that may be dialled; says why if there are none.
    pub fn vet(&self, found: &[IpAddr]) -> Result<Vec<IpAddr>, TargetError> {
        let (mut vetted, mut refused) = (Vec::new(), None);
        for ip in found {
            match self.check(*ip) {
                Ok(()) => vetted.push(*ip),
                Err(refusal) => refused = Some(refusal),
            }
        }
        refused.filter(|_| vetted.is_empty()).map_or(Ok(vetted), Err)
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        // An address that carries an IPv4 address ends up there.
        IpAddr::V6(ip) => is_public_v6(ip) && embedded_v4(ip).is_none_or(is_public_v4),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !(is_this_network(ip)
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || is_carrier_grade_nat(ip)
        || is_ietf_assignment(ip)
        || is_benchmarking(ip)
        || is_relay_6to4(ip)
        || ip.is_documentation()
        || ip.is_multicast()
        || is_reserved(ip))
}

/// Whether it lies in 0.0.0.0/8 (RFC 1122).
fn is_this_network(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 0
}

/// Whether it lies in 100.64.0.0/10 (RFC 6598).
fn is_carrier_grade_nat(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
}

/// Whether it lies in 192.0.0.0/24 (RFC 6890).
fn is_ietf_assignment(ip: Ipv4Addr) -> bool {
    ip.octets()[..3] == [192, 0, 0]
}

/// Whether it lies in 198.18.0.0/15 (RFC 2544).
fn is_benchmarking(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 198 && ip.octets()[1] & 0xfe == 18
}

/// Whether it lies in 192.88.99.0/24 (RFC 7526).
fn is_relay_6to4(ip: Ipv4Addr) -> bool {
    ip.octets()[..3] == [192, 88, 99]
}

/// Whether it lies in 240.0.0.0/4 with broadcast (RFC 1112).
fn is_reserved(ip: Ipv4Addr) -> bool {
    ip.octets()[0] >= 240
}

/// Whether it is routed on the Internet: global unicast (2000::/3), and NAT64's 64:ff9b::/96, which leads there.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    (is_global_unicast(ip) || is_nat64(ip) || ip.to_ipv4_mapped().is_some())
        && !is_teredo_or_orchid(ip)
        && !is_documentation_v6(ip)
}

/// Whether it lies in 2000::/3 (RFC 4291): outside it are ::, ::1, fc00::/7, fe80::/10, ff00::/8 and all that is not
/// assigned.
fn is_global_unicast(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xe000 == 0x2000
}

/// Whether it lies in 2001::/23 (RFC 2928): Teredo, ORCHID, benchmarking.
fn is_teredo_or_orchid(ip: Ipv6Addr) -> bool {
    ip.segments()[0] == 0x2001 && ip.segments()[1] & 0xfe00 == 0
}

/// Whether it lies in 2001:db8::/32 (RFC 3849) or 3fff::/20 (RFC 9637).
fn is_documentation_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    (first == 0x2001 && second == 0xdb8) || (first == 0x3fff && second & 0xf000 == 0)
}

/// Whether it lies in 64:ff9b::/96 (RFC 6052).
fn is_nat64(ip: Ipv6Addr) -> bool {
    ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
}

/// Whether it lies in 2002::/16 (RFC 3056).
fn is_6to4(ip: Ipv6Addr) -> bool {
    ip.segments()[0] == 0x2002
}

/// Returns the IPv4 address in an IPv4-mapped, NAT64 or 6to4 address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = ip.octets();
    let octets = ip.octets();
    if ip.to_ipv4_mapped().is_some() || is_nat64(ip) {
        Some(Ipv4Addr::new(a, b, c, d))
    } else if is_6to4(ip) {
        Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5]))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        EgressPolicy::new(&[]).check(text.parse().unwrap()).is_ok()
    }

    #[test]
    fn public_addresses_are_dialled() {
        for ip in [
            "1.1.1.1",
            "93.184.216.34",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(public(ip), "{ip}");
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.5",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.9",
            "198.18.0.1",
            "198.19.1.1",
            "192.88.99.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!public(ip), "{ip}");
        }
    }

    #[test]
    fn a_private_address_inside_an_ipv6_address_is_refused() {
        for ip in [
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "64:ff9b:1::1",
        ] {
            assert!(!public(ip), "{ip}");
        }
        assert!(public("::ffff:1.1.1.1") && public("64:ff9b::101:101") && public("2002:101:101::"));
    }

    #[test]
    fn a_permitted_network_is_dialled_and_its_neighbours_are_not() {
        let policy = EgressPolicy::new(&["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()]);
        for ip in ["10.1.2.3", "::1", "::ffff:10.1.2.3"] {
            assert!(policy.check(ip.parse().unwrap()).is_ok(), "{ip}");
        }
        assert_eq!(
            policy.check("10.2.0.1".parse().unwrap()).unwrap_err().to_string(),
            "Refused to connect to 10.2.0.1: not a public address (PG_WEBHOOKS_ALLOW_NETS permits it)"
        );
    }

    #[test]
    fn no_permitted_network_opens_a_metadata_service() {
        let everything = EgressPolicy::new(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        for ip in ["169.254.169.254", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]
        {
            assert_eq!(everything.check(ip.parse().unwrap()), Err(TargetError::Metadata(ip.parse().unwrap())));
        }
        for ip in ["127.0.0.1", "169.254.0.1", "10.0.0.1", "::1", "fd00::1"] {
            assert!(everything.check(ip.parse().unwrap()).is_ok(), "{ip}");
        }
    }

    #[test]
    fn of_a_name_with_several_addresses_only_the_permitted_are_dialled() {
        let [private, public] = ["127.0.0.1", "1.1.1.1"].map(|ip| ip.parse().unwrap());
        let policy = EgressPolicy::new(&[]);
        assert_eq!(policy.vet(&[private, public]), Ok(vec![public]));
        assert_eq!(policy.vet(&[private]), Err(TargetError::Private(private)));
    }
}
