//! A small HTTP client for stories, load and tests.

mod connector;

use anyhow::Context;
use bytes::Bytes;
use connector::Connector;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use runtime::tls::ClientTls;
use serde_json::Value;
use std::time::Duration;

/// How long one request may take, unless said otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer, its body read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as JSON; `Null` when there is none, a string when it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The aggregate's version, from the body of a command's answer.
    pub fn version(&self) -> Option<u64> {
        self.body.get("version")?.as_u64()
    }

    /// A text field of the body.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field)?.as_str()
    }
}

/// Talks HTTP/1.1 over kept-alive connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::with_timeout(REQUEST_TIMEOUT)
    }
}

impl HttpClient {
    /// A client whose requests take at most so long.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self::new(None, timeout)
    }

    /// A client that speaks `https` too, with the PEM files of authorities, own certificate and private key; without
    /// the last two, both empty, it shows none. Errs with the one of `names` whose file is at fault.
    pub fn with_tls(names: [&str; 3], files: [&str; 3]) -> anyhow::Result<Self> {
        Ok(Self::new(Some(ClientTls::open(names, files)?), REQUEST_TIMEOUT))
    }

    fn new(tls: Option<ClientTls>, timeout: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(Connector::new(tls));
        Self { client, timeout }
    }

    /// `GET url`
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.request(Method::GET, url, &[], None).await
    }

    /// A command: JSON with an idempotency key.
    pub async fn command(
        &self,
        method: Method,
        url: &str,
        idempotency_key: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let headers = [("idempotency-key", idempotency_key), ("content-type", "application/json")];
        self.request(method, url, &headers, Some(body.to_string().into())).await
    }

    /// Any request.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method.clone()).uri(url);
        for (name, value) in headers {
            request = request
                .header(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(self.timeout, exchange)
            .await
            .with_context(|| format!("{method} {url} took longer than {:?}", self.timeout))?
            .with_context(|| format!("{method} {url}"))?;
        let body = match serde_json::from_slice(&body) {
            Ok(json) => json,
            Err(_) if body.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&body).into_owned()),
        };
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}
