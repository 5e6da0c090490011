//! `USING TTL`, `TIMESTAMP` and `TIMEOUT`.

use crate::ast::{self, Term};
use crate::error::{CqlError, Result};
use crate::plan::terms::{Bindings, Expr, Scope};
use crate::protocol::Value;
use crate::schema::CqlType;
use crate::types::duration;

/// The largest TTL, 20 years.
const TTL_MAX: i32 = 630_720_000;

/// How far ahead of the clock a write timestamp may be, in µs.
const FUTURE_MAX: i64 = 3 * 24 * 3600 * 1_000_000;

/// The clause of a modification.
#[derive(Debug, Clone)]
pub(crate) struct Using {
    ttl: Option<Expr>,
    timestamp: Option<Expr>,
    timeout: Timeout,
}

impl Using {
    /// Prepares its terms.
    pub(crate) fn prepare(scope: &mut Scope<'_>, using: &ast::Using) -> Result<Self> {
        let ttl = using.ttl.as_ref();
        let timestamp = using.timestamp.as_ref();
        Ok(Self {
            ttl: ttl.map(|term| Expr::prepare(scope, term, "[ttl]", &CqlType::Int)).transpose()?,
            timestamp: timestamp
                .map(|term| Expr::prepare(scope, term, "[timestamp]", &CqlType::Bigint))
                .transpose()?,
            timeout: Timeout::prepare(scope, using.timeout.as_ref())?,
        })
    }

    /// Whether a timestamp is written out.
    pub(crate) fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    /// Whether a TTL is written out.
    pub(crate) fn has_ttl(&self) -> bool {
        self.ttl.is_some()
    }

    /// Seconds, 0 for none; the table's default when not given.
    pub(crate) fn ttl(&self, bindings: &Bindings<'_>, default: u32) -> Result<u32> {
        self.timeout.check(bindings)?;
        let Some(expr) = &self.ttl else { return Ok(default) };
        let seconds = match expr.evaluate(bindings)? {
            Value::Unset => return Ok(default),
            Value::Null => return Err(CqlError::invalid("Invalid null value of TTL")),
            Value::Bytes(bytes) => int(&bytes).unwrap_or(0),
        };
        if seconds > TTL_MAX {
            return Err(CqlError::invalid(format!(
                "ttl is too large. requested ({seconds}) maximum ({TTL_MAX})"
            )));
        }
        u32::try_from(seconds).map_err(|_| CqlError::invalid("A TTL must be greater or equal to 0"))
    }

    /// The written timestamp in µs, if any.
    pub(crate) fn timestamp(&self, bindings: &Bindings<'_>) -> Result<Option<i64>> {
        let Some(expr) = &self.timestamp else { return Ok(None) };
        let micros = match expr.evaluate(bindings)? {
            Value::Unset => return Ok(None),
            Value::Null => return Err(CqlError::invalid("Invalid null value of timestamp")),
            Value::Bytes(bytes) => bigint(&bytes)
                .ok_or_else(|| CqlError::invalid("Invalid empty value of timestamp"))?,
        };
        if micros == i64::MIN {
            return Err(CqlError::invalid(format!("timestamp {micros} is out of bound")));
        }
        if micros > bindings.now_micros.saturating_add(FUTURE_MAX) {
            return Err(CqlError::invalid(
                "Cannot provide a timestamp more than 3 days into the future. If this was not intended, make sure the timestamp is in microseconds. You can also disable this check by setting the restrict_future_timestamp configuration option to false.",
            ));
        }
        Ok(Some(micros))
    }
}

/// `USING TIMEOUT`: checked as ScyllaDB checks it. The engine never gives up on a request, so
/// that it has no other effect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeout(Option<Expr>);

impl Timeout {
    /// Prepares the term; a constant is checked at once.
    pub(crate) fn prepare(scope: &mut Scope<'_>, term: Option<&Term>) -> Result<Self> {
        let expr = term
            .map(|term| Expr::prepare(scope, term, "[timeout]", &CqlType::Duration))
            .transpose()?;
        let timeout = Self(expr);
        if matches!(timeout.0, Some(Expr::Constant(_) | Expr::Null)) {
            timeout.check(&Bindings::NONE)?;
        }
        Ok(timeout)
    }

    /// Checks the value of one execution.
    pub(crate) fn check(&self, bindings: &Bindings<'_>) -> Result<()> {
        let Some(expr) = &self.0 else { return Ok(()) };
        let value = match expr.evaluate(bindings)? {
            Value::Unset => return Ok(()),
            Value::Null => return Err(CqlError::invalid("Timeout value cannot be null")),
            Value::Bytes(bytes) => duration::decode(&bytes),
        };
        let Some(value) = value else {
            return Err(CqlError::invalid("Timeout value cannot be empty"));
        };
        if value.months != 0 || value.days != 0 {
            return Err(CqlError::invalid("Timeout values cannot be expressed in days/months"));
        }
        if value.nanos % 1_000_000 != 0 {
            return Err(CqlError::invalid(
                "Timeout values must be expressed in millisecond granularity",
            ));
        }
        if value.nanos < 0 {
            return Err(CqlError::invalid("Timeout values must be non-negative"));
        }
        Ok(())
    }
}

/// The value of an int; `None` for the empty one.
pub(crate) fn int(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// The value of a bigint, timestamp or time; `None` for the empty one.
pub(crate) fn bigint(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}
