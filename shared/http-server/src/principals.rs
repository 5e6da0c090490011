//! On whose behalf requests come, and how many requests each of them may send.
//!
//! A gateway that knows who a client is says so in a header. It is believed: only a gateway may be able to
//! reach the port, and it must remove the header from what clients send. Each principal has a bucket of
//! requests that fills at a fixed rate; who has emptied theirs is refused until it fills again, however idle
//! the process is, so that one principal's flood is not everybody's. Requests without a principal have no
//! bucket.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::future::Cache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The longest name of a principal, in bytes.
const PRINCIPAL_BYTES_MAX: usize = 128;

/// On whose behalf requests come, and what each of them may send.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalsConfig {
    /// The header in which the gateway names the principal ([http-api.md](http-api.md)).
    #[schemars(with = "String")]
    pub header: PrincipalHeader,
    /// Requests that each principal may send in the long run; then 429.
    pub requests_per_second: NonZeroU32,
    /// Requests that each principal may send at once, after a rest.
    pub burst: NonZeroU32,
    /// Principals that are remembered; one that was forgotten begins with a full bucket.
    pub remembered_max: NonZeroU32,
}

impl PrincipalsConfig {
    /// Bounds for tools and tests.
    pub(crate) fn generous() -> Self {
        let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            header: PrincipalHeader(HeaderName::from_static("x-actor")),
            requests_per_second: count(1_000),
            burst: count(1_000),
            remembered_max: count(1_000),
        }
    }
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalHeader(HeaderName);

impl TryFrom<String> for PrincipalHeader {
    type Error = axum::http::header::InvalidHeaderName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self)
    }
}

impl From<PrincipalHeader> for String {
    fn from(header: PrincipalHeader) -> Self {
        header.0.as_str().to_owned()
    }
}

impl PrincipalHeader {
    /// Who sent a request with these headers, where they say so.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
        let mut values = headers.get_all(&self.0).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = std::str::from_utf8(value.as_bytes()).ok().filter(|text| is_principal(text));
        match text {
            Some(text) if values.next().is_none() => Ok(Some(text.into())),
            _ => Err(self.malformed()),
        }
    }

    fn malformed(&self) -> Problem {
        let detail = format!(
            "{} must be one value of 1 to {PRINCIPAL_BYTES_MAX} visible ASCII characters",
            self.0
        );
        Problem::malformed("malformed_actor", detail)
    }
}

fn is_principal(text: &str) -> bool {
    (1..=PRINCIPAL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The buckets. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Principals {
    quota: Quota,
    clock: DefaultClock,
    buckets: Cache<Arc<str>, Arc<DefaultDirectRateLimiter>>,
}

impl Principals {
    pub(crate) fn new(config: &PrincipalsConfig) -> Self {
        Self {
            quota: Quota::per_second(config.requests_per_second).allow_burst(config.burst),
            clock: DefaultClock::default(),
            buckets: Cache::new(config.remembered_max.get().into()),
        }
    }

    /// Takes one request from the principal's bucket, or says when there will be one again.
    pub(crate) async fn take(&self, principal: &Arc<str>) -> Result<(), Duration> {
        let new =
            async { Arc::new(RateLimiter::direct_with_clock(self.quota, self.clock.clone())) };
        let bucket = self.buckets.get_with_by_ref(principal, new).await;
        bucket.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    /// So many at once, and hardly any later.
    fn principals(burst: u32, remembered_max: u32) -> Principals {
        let count = |number| NonZeroU32::new(number).expect("not zero");
        let config = PrincipalsConfig {
            requests_per_second: NonZeroU32::MIN,
            burst: count(burst),
            remembered_max: count(remembered_max),
            ..PrincipalsConfig::generous()
        };
        Principals::new(&config)
    }

    #[tokio::test]
    async fn each_principal_has_a_bucket_of_their_own() {
        let principals = principals(2, 10);
        let (ada, bob) = ("ada".into(), "bob".into());
        for _ in 0..2 {
            principals.take(&ada).await.expect("in the bucket");
        }
        let wait = principals.take(&ada).await.expect_err("empty");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        principals.take(&bob).await.expect("another bucket");
    }

    #[tokio::test]
    async fn many_names_do_not_fill_the_memory() {
        let principals = principals(1, 10);
        for number in 0..1_000 {
            principals.take(&format!("principal-{number}").into()).await.expect("a full bucket");
        }
        principals.buckets.run_pending_tasks().await;
        assert!(principals.buckets.entry_count() <= 10, "{}", principals.buckets.entry_count());
    }

    #[test]
    fn a_principal_is_one_value_of_visible_ascii() {
        let header = PrincipalHeader::try_from("X-Forwarded-User".to_owned()).expect("a name");
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value).expect("a header value");
                headers.append("x-forwarded-user", value);
            }
            header.read(&headers)
        };
        assert_eq!(read(&[]).expect("none"), None);
        let longest = [b'a'; 128];
        for name in [&b"ada"[..], b"spiffe://shop/ns/web?x=1", &longest] {
            let read = read(&[name]).expect("a principal");
            assert_eq!(read.as_deref().map(str::as_bytes), Some(name));
        }
        let too_long = [b'a'; 129];
        for values in [&[&b""[..]][..], &[b"a b"], &["ä".as_bytes()], &[b"a", b"a"], &[&too_long]]
        {
            let problem = read(values).expect_err("must be refused");
            assert_eq!(problem.code(), "malformed_actor", "{values:?}");
        }
        assert!(PrincipalHeader::try_from("x actor".to_owned()).is_err());
    }
}
