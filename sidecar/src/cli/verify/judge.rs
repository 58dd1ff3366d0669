//! Whether a signature is right, and which mistakes explain one that is not: the fewest that turn what was signed into
//! what was given. Pure; signatures are compared in constant time.

use webhooks_core::signature::{Signer, is_same};

use super::variants::{self, Encoding, Mistake, Variant, mistake};
use crate::cli::time;
use crate::verify::{Standard, Verdict, signature};

/// A signature, and what it is said to sign.
pub struct Claim<'a> {
    pub body: &'a [u8],
    pub signature: &'a str,
    pub secret: &'a str,
    pub id: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    /// Unix seconds.
    pub now: i64,
    pub tolerance_s: i64,
}

/// Which of the two signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Plain,
    Standard,
}

impl Scheme {
    /// Returns the header that carries the signature.
    pub fn header(self) -> &'static str {
        match self {
            Self::Plain => "X-Webhook-Signature",
            Self::Standard => "webhook-signature",
        }
    }
}

/// The verdict on a claim.
#[derive(Debug)]
pub struct Judgement {
    pub scheme: Scheme,
    pub mistakes: Vec<Mistake>,
}

impl Judgement {
    pub fn is_valid(&self) -> bool {
        self.mistakes.is_empty()
    }
}

/// The text that is signed before the body; X-Webhook-Signature has none.
type Form = (Scheme, String);

impl Claim<'_> {
    /// Judges the claim; an error says what is missing to judge a standard signature.
    pub fn judge(&self) -> Result<Judgement, Mistake> {
        let (name, header) = without_name(self.signature);
        let scheme = self.scheme(name, header);
        let id_in_body = variants::id_in(self.body);
        let id = self.id.or(id_in_body.as_deref());
        if scheme == Scheme::Standard && (id.is_none() || self.timestamp.is_none()) {
            return Err(mistake(
                "webhook-signature covers webhook-id, webhook-timestamp and the body",
                "Give --id and --timestamp, from the headers webhook-id and webhook-timestamp.",
            ));
        }
        let standard = Standard { id, timestamp: self.timestamp, signature: Some(header) };
        let verdict = match scheme {
            Scheme::Plain => signature(Some(header), self.body, Some(self.secret)),
            Scheme::Standard => standard.verify(self.body, Some(self.secret)),
        };
        let mut mistakes = match verdict {
            Verdict::Valid => Vec::new(),
            _ => self.explain(scheme, header, id, id_in_body.as_deref()),
        };
        if scheme == Scheme::Standard {
            mistakes.extend(self.staleness());
        }
        Ok(Judgement { scheme, mistakes })
    }

    fn scheme(&self, name: Option<Scheme>, header: &str) -> Scheme {
        let header = header.trim();
        match name {
            Some(scheme) => scheme,
            None if header.starts_with("v1") => Scheme::Standard,
            None if header.starts_with("sha256=") => Scheme::Plain,
            None if self.timestamp.is_some() => Scheme::Standard,
            None => Scheme::Plain,
        }
    }

    /// Finds the mistakes that explain a signature that is not valid.
    fn explain(&self, scheme: Scheme, header: &str, id: Option<&str>, id_in_body: Option<&str>) -> Vec<Mistake> {
        let own = writings(&[scheme], header);
        let Some((_, first_written)) = own.first() else { return vec![unreadable(scheme, header)] };
        let bodies = variants::bodies(self.body);
        let forms = self.forms(scheme, id, id_in_body);
        let mut found: Option<Vec<Mistake>> = None;
        for (form, form_mistake) in &forms {
            // A signature of the other header is written as that header demands.
            let writings = writings(&[scheme, form.0], header);
            let keys = match form.0 {
                Scheme::Plain => variants::plain_keys(self.secret),
                Scheme::Standard => variants::standard_keys(self.secret),
            };
            for ((key, key_mistake), (body, body_mistake)) in
                keys.iter().flat_map(|key| bodies.iter().map(move |body| (key, body)))
            {
                let made = Signer::with_key(key).sign(&[form.1.as_bytes(), body]);
                for (given, writing_mistakes) in &writings {
                    let few = [body_mistake, key_mistake, form_mistake].into_iter().flatten().chain(writing_mistakes);
                    let few: Vec<Mistake> = few.cloned().collect();
                    let is_fewer = found.as_ref().is_none_or(|found| few.len() < found.len());
                    if is_same(&made, given) && is_fewer {
                        found = Some(few);
                    }
                }
            }
        }
        match found {
            // The header has blanks around it, and nothing else is wrong.
            Some(none) if none.is_empty() => {
                vec![mistake("the signature has blanks or quotation marks around it", "Take the header as it is.")]
            }
            Some(mistakes) => mistakes,
            None => first_written.iter().cloned().chain(self.guess(scheme, id, id_in_body)).collect(),
        }
    }

    /// Returns the texts that may have been signed before the body: the right one, and wrong ones.
    fn forms(&self, scheme: Scheme, id: Option<&str>, id_in_body: Option<&str>) -> Vec<Variant<Form>> {
        let other = |what: Scheme| {
            (what != scheme).then(|| {
                mistake(
                    format!("the signature is that of {}, not of {}", what.header(), scheme.header()),
                    format!("{} Check each header with its own rule.", rule(what)),
                )
            })
        };
        let mut forms = vec![((Scheme::Plain, String::new()), other(Scheme::Plain))];
        if let (Some(id), Some(timestamp)) = (id, self.timestamp) {
            for ((id, timestamp), mistake) in variants::stamps(id, timestamp, id_in_body) {
                // Both this mistake and the wrong header would be one too many to tell.
                if scheme == Scheme::Standard || mistake.is_none() {
                    let form = (Scheme::Standard, format!("{id}.{timestamp}."));
                    forms.push((form, mistake.or_else(|| other(Scheme::Standard))));
                }
            }
        }
        forms
    }

    /// Guesses what is likely when no variant explains the signature.
    fn guess(&self, scheme: Scheme, id: Option<&str>, id_in_body: Option<&str>) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if let (Some(id), Some(of_body)) = (id, id_in_body)
            && id != of_body
        {
            let what = format!("the body is that of {of_body}, not of {id}");
            mistakes.push(mistake(what, "Take the body and the headers of the same request."));
        }
        if id_in_body.is_none() {
            mistakes.push(mistake(
                "the body is not a message: no JSON object with a webhook_id",
                "Save the request's body whole, uncompressed, and before anything parses it.",
            ));
        } else if variants::is_reordered(self.body) {
            mistakes.push(mistake(
                "the body was parsed and serialised again, with its keys in another order",
                "Check the bytes as received, before anything parses them.",
            ));
        }
        if mistakes.is_empty() {
            let compare = id_in_body.unwrap_or("wh_…");
            let what = match scheme {
                Scheme::Plain => "this secret did not sign this body: it is another secret, or the body was changed",
                Scheme::Standard => {
                    "this secret did not sign this id, timestamp and body: the secret is another one, or one of the three \
                     is not as it was sent"
                }
            };
            mistakes.push(mistake(
                what,
                format!(
                    "pg-webhooks event {compare} --body | cmp - FILE compares the body; \
                     pg-webhooks webhooks rotate EP makes a new secret."
                ),
            ));
        }
        mistakes
    }

    /// Whether a timestamp that can be read is too far from now.
    fn staleness(&self) -> Option<Mistake> {
        let timestamp: i64 = self.timestamp?.trim().parse().ok()?;
        // A timestamp in milliseconds is another mistake, which is found above.
        let age = self.now.checked_sub(timestamp).filter(|age| age.abs() < 100 * 365 * 86_400)?;
        let (what, fix) = if age > self.tolerance_s {
            let what = format!("webhook-timestamp is {} old", time::rough(age));
            (
                what,
                "Receivers refuse it: it may be a replay of an intercepted message. Set the clock, or give --tolerance.",
            )
        } else if -age > self.tolerance_s {
            let what = format!("webhook-timestamp is {} in the future", time::rough(-age));
            (what, "The clocks of sender and receiver differ: pg-webhooks doctor compares the sender's.")
        } else {
            return None;
        };
        Some(mistake(format!("{what}; the limit is {}", time::rough(self.tolerance_s)), fix))
    }
}

fn rule(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Plain => "X-Webhook-Signature is sha256= and the hex HMAC of the body.",
        Scheme::Standard => "webhook-signature is v1, and the base64 HMAC of id.timestamp.body.",
    }
}

/// Finds the signature in a header with its name, or in all the headers of a request.
fn without_name(header: &str) -> (Option<Scheme>, &str) {
    for scheme in [Scheme::Plain, Scheme::Standard] {
        let name = scheme.header();
        for line in header.lines().map(str::trim_start) {
            if let (Some(start), Some(rest)) = (line.get(..name.len()), line.get(name.len()..))
                && start.eq_ignore_ascii_case(name)
                && let Some(value) = rest.trim_start().strip_prefix(':')
            {
                return (Some(scheme), value.trim());
            }
        }
    }
    // Files end with a line break.
    (None, header.trim_end_matches(['\r', '\n']))
}

/// Reads the signatures in a header, each with what is wrong in its writing, by the scheme that fits it best.
fn writings(schemes: &[Scheme], header: &str) -> Vec<([u8; 32], Vec<Mistake>)> {
    let parts = header.split_whitespace().map(|part| part.trim_matches(['"', '\'']));
    let written =
        |part| schemes.iter().filter_map(|scheme| writing(*scheme, part)).min_by_key(|(_, mistakes)| mistakes.len());
    parts.filter_map(written).collect()
}

fn writing(scheme: Scheme, part: &str) -> Option<([u8; 32], Vec<Mistake>)> {
    let prefix = ["sha256=", "SHA256=", "v1,", "v1="].into_iter().find(|prefix| part.starts_with(prefix));
    let (given, encoding) = variants::decode(&part[prefix.map_or(0, str::len)..])?;
    let right = if scheme == Scheme::Plain { "sha256=" } else { "v1," };
    let mut mistakes = Vec::new();
    match prefix {
        Some(prefix) if prefix == right => {}
        Some(prefix) => mistakes.push(mistake(
            format!("the signature begins with {prefix} where it should begin with {right}"),
            rule(scheme),
        )),
        None => mistakes.push(mistake(format!("the signature lacks {right} in front"), rule(scheme))),
    }
    let why = match (scheme, encoding) {
        (Scheme::Plain, Encoding::Hex) | (Scheme::Standard, Encoding::Base64) => None,
        (Scheme::Plain, Encoding::UpperHex) => Some("the signature is in upper case"),
        (Scheme::Plain, _) => Some("the signature is base64 where it should be hex"),
        (Scheme::Standard, Encoding::Base64Url) => Some("the signature is base64url where it should be base64"),
        (Scheme::Standard, _) => Some("the signature is hex where it should be base64"),
    };
    mistakes.extend(why.map(|why| mistake(why, rule(scheme))));
    Some((given, mistakes))
}

fn unreadable(scheme: Scheme, header: &str) -> Mistake {
    let length = header.trim().chars().count();
    let whole = if scheme == Scheme::Plain { 7 + 64 } else { 3 + 44 };
    let what = match length {
        0 => "the signature is empty".to_owned(),
        _ if length < whole => format!("the signature is cut off: {length} of {whole} characters"),
        _ => "this is no signature: neither hex nor base64 of 32 bytes".to_owned(),
    };
    mistake(what, rule(scheme))
}

#[cfg(test)]
mod tests;
