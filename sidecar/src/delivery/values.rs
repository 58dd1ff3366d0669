//! Values of Postgres as the sessions read and write them.

use postgres_types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A timestamptz as Postgres holds it, microseconds since 2000: it comes back exactly as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time by this machine's clock.
    pub fn local_now() -> Self {
        const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);
        let since = SystemTime::now().duration_since(UNIX_EPOCH + POSTGRES_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The number of a transaction, `xid8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(pub i64);

impl Xid {
    /// The number, which the database counts without a sign.
    pub fn unsigned(self) -> u64 {
        self.0 as u64
    }
}

impl From<u64> for Xid {
    fn from(number: u64) -> Self {
        Self(number as i64)
    }
}

/// Eight bytes on the wire, as those of an `int8`.
macro_rules! eight_bytes {
    ($name:ident, $oid:ident) => {
        impl<'a> FromSql<'a> for $name {
            fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
                Ok(Self(i64::from_be_bytes(raw.try_into()?)))
            }

            accepts!($oid);
        }

        impl ToSql for $name {
            fn to_sql(
                &self,
                _: &Type,
                out: &mut bytes::BytesMut,
            ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
                out.extend_from_slice(&self.0.to_be_bytes());
                Ok(IsNull::No)
            }

            accepts!($oid);
            to_sql_checked!();
        }
    };
}

eight_bytes!(Timestamp, TIMESTAMPTZ);
eight_bytes!(Xid, XID8);

/// A text as the database holds it, which need not be UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct RawText<'a>(pub &'a [u8]);

impl RawText<'_> {
    /// What of it can be read, in a form that the database takes.
    pub fn legible(self) -> String {
        String::from_utf8_lossy(self.0).replace('\0', "")
    }
}

impl<'a> FromSql<'a> for RawText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    accepts!(TEXT);
}
