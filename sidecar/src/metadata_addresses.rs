//! The metadata services of clouds and what is like them, Azure's WireServer among them: they hand credentials to
//! whoever asks from inside. An address that leads to one inside another form is one, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const METADATA_V4: [Ipv4Addr; 8] = [
    // AWS, Azure, Google Cloud, Oracle, DigitalOcean, OpenStack and others
    Ipv4Addr::new(169, 254, 169, 254),
    // The credentials of AWS' containers: ECS, and EKS
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    // Tencent Cloud
    Ipv4Addr::new(169, 254, 0, 23),
    // Scaleway
    Ipv4Addr::new(169, 254, 42, 42),
    // Alibaba Cloud
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle Cloud's first
    Ipv4Addr::new(192, 0, 0, 192),
    // Azure's WireServer, public by its number
    Ipv4Addr::new(168, 63, 129, 16),
];

const METADATA_V6: [Ipv6Addr; 5] = [
    // AWS, and its EKS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    // Google Cloud
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    // Scaleway
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    // OpenStack
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Whether a cloud's metadata service answers at `ip`.
pub fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => METADATA_V4.contains(&ip),
        IpAddr::V6(ip) => METADATA_V6.contains(&ip) || carried_v4(ip).is_some_and(|ip| METADATA_V4.contains(&ip)),
    }
}

/// Returns the IPv4 address that an IPv6 address may lead to.
fn carried_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    let v4 = |at: [usize; 4]| Some(Ipv4Addr::from(at.map(|at| octets[at])));
    match ip.segments() {
        // IPv4-compatible, IPv4-mapped (RFC 4291), IPv4-translated (RFC 2765), NAT64's own prefix (RFC 6052)
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            v4([12, 13, 14, 15])
        }
        // A local prefix of NAT64 (RFC 8215), as long as the network's operator likes
        [0x64, 0xff9b, 1, 0, 0, 0, ..] => v4([12, 13, 14, 15]),
        [0x64, 0xff9b, 1, ..] => v4([6, 7, 9, 10]),
        // 6to4 (RFC 3056)
        [0x2002, ..] => v4([2, 3, 4, 5]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_one(ip: &str) -> bool {
        is_metadata(ip.parse().unwrap())
    }

    #[test]
    fn the_metadata_services_of_clouds_are_known() {
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.23",
            "169.254.42.42",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            "fe80::a9fe:a9fe",
        ] {
            assert!(is_one(ip), "{ip}");
        }
        for ip in ["169.254.169.253", "168.63.129.17", "100.100.100.201", "fd00:ec2::255", "fd00::1", "::1", "1.1.1.1"]
        {
            assert!(!is_one(ip), "{ip}");
        }
    }

    #[test]
    fn no_form_of_an_address_hides_a_metadata_service() {
        for ip in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "::ffff:168.63.129.16",
            "64:ff9b::168.63.129.16",
            "2002:a83f:8110::",
        ] {
            assert!(is_one(ip), "{ip}");
        }
        for ip in ["::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "64:ff9b:1::10.0.0.1", "2002:101:101::"] {
            assert!(!is_one(ip), "{ip}");
        }
    }
}
