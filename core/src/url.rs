//! The form of an endpoint's URL. Pure: where it leads is the sidecar's policy, decided where it dials.

use ::url::Url;

/// Why a URL is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidUrl {
    /// Empty, or not a URL at all; with the parser's word.
    Malformed(String),
    /// Neither http nor https.
    Scheme(String),
    /// `user:password@` would be stored and logged in the open.
    UserInfo,
}

/// Longer ones are not for receivers: most servers take 8 kB for a request's line and headers.
const MAX_URL_BYTES: usize = 8000;

/// The URL in its normal form.
pub fn normalize(text: &str) -> Result<String, InvalidUrl> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidUrl::Malformed("it is empty".to_owned()));
    }
    if text.len() > MAX_URL_BYTES {
        return Err(InvalidUrl::Malformed(format!("it has {} bytes, more than {MAX_URL_BYTES}", text.len())));
    }
    let mut url = Url::parse(text).map_err(|error| InvalidUrl::Malformed(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidUrl::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidUrl::UserInfo);
    }
    url.set_fragment(None); // never sent in a request
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_https_urls_pass() {
        assert_eq!(normalize("https://example.com/hook?a=1").as_deref(), Ok("https://example.com/hook?a=1"));
        assert_eq!(normalize(" http://127.0.0.1:8080#x ").as_deref(), Ok("http://127.0.0.1:8080/"));
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        assert!(matches!(normalize(""), Err(InvalidUrl::Malformed(_))));
        assert!(matches!(normalize("example.com/hook"), Err(InvalidUrl::Malformed(_))));
        assert!(matches!(normalize("https://"), Err(InvalidUrl::Malformed(_))));
        assert!(matches!(
            normalize(&format!("https://example.com/{}", "x".repeat(8000))),
            Err(InvalidUrl::Malformed(_))
        ));
        assert_eq!(normalize("ftp://example.com"), Err(InvalidUrl::Scheme("ftp".to_owned())));
        assert_eq!(normalize("https://user:pw@example.com"), Err(InvalidUrl::UserInfo));
        assert_eq!(normalize("https://user@example.com"), Err(InvalidUrl::UserInfo));
    }
}
