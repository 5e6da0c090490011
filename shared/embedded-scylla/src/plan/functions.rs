//! The functions that terms and selectors may call, by name and by the types of their arguments.

use crate::error::{CqlError, Result};
use crate::schema::{CqlType, Partitioner};

/// A function, resolved. `execute::functions` evaluates it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Function {
    /// `now()`, `currentTimeUUID()`
    Now,
    /// `uuid()`
    Uuid,
    /// `currentTimestamp()`
    CurrentTimestamp,
    /// `currentDate()`
    CurrentDate,
    /// `currentTime()`
    CurrentTime,
    /// `minTimeuuid(timestamp)`
    MinTimeuuid,
    /// `maxTimeuuid(timestamp)`
    MaxTimeuuid,
    /// To a timestamp from a timeuuid or date: `toTimestamp`, `dateOf`.
    ToTimestamp(CqlType),
    /// `toDate` from a timeuuid or timestamp.
    ToDate(CqlType),
    /// `toUnixTimestamp`, `unixTimestampOf`
    ToUnixTimestamp(CqlType),
    /// `<type>AsBlob`: the bytes stay.
    AsBlob,
    /// `blobAs<type>`: the bytes stay if they are a value of the type.
    BlobAs(CqlType),
    /// `token(partition key)`
    Token(Partitioner),
    /// `CAST(x AS type)` in a selection.
    Cast(CqlType, CqlType),
}

impl Function {
    /// Whether equal arguments give equal results, so that constants can be folded.
    pub(crate) fn is_deterministic(&self) -> bool {
        !matches!(
            self,
            Self::Now | Self::Uuid | Self::CurrentTimestamp | Self::CurrentDate | Self::CurrentTime
        )
    }
}

/// One way to call a function.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    /// What to evaluate.
    pub(crate) function: Function,
    /// The types of its arguments.
    pub(crate) arguments: Vec<CqlType>,
    /// The type of its result.
    pub(crate) returns: CqlType,
}

/// The type names of `blobAs…` and `…AsBlob`.
const NATIVE: [(&str, CqlType); 20] = [
    ("ascii", CqlType::Ascii),
    ("bigint", CqlType::Bigint),
    ("boolean", CqlType::Boolean),
    ("date", CqlType::Date),
    ("decimal", CqlType::Decimal),
    ("double", CqlType::Double),
    ("duration", CqlType::Duration),
    ("float", CqlType::Float),
    ("inet", CqlType::Inet),
    ("int", CqlType::Int),
    ("smallint", CqlType::Smallint),
    ("text", CqlType::Text),
    ("time", CqlType::Time),
    ("timestamp", CqlType::Timestamp),
    ("timeuuid", CqlType::Timeuuid),
    ("tinyint", CqlType::Tinyint),
    ("uuid", CqlType::Uuid),
    ("varchar", CqlType::Text),
    ("varint", CqlType::Varint),
    ("counter", CqlType::Counter),
];

/// The function's name without `system.`, in lower case, as result columns show it.
pub(crate) fn plain_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("system.").map(str::to_owned).unwrap_or(name)
}

/// All signatures of a name (see [`plain_name`]), `token` and aggregates excepted; Invalid when
/// there is none.
pub(crate) fn signatures(name: &str) -> Result<Vec<Signature>> {
    use CqlType::{Bigint, Date, Time, Timestamp, Timeuuid, Uuid};
    let nullary = |function, returns| vec![Signature { function, arguments: Vec::new(), returns }];
    let unary = |argument: CqlType, function, returns| Signature {
        function,
        arguments: vec![argument],
        returns,
    };
    let found = match name {
        "now" | "currenttimeuuid" => nullary(Function::Now, Timeuuid),
        "uuid" => nullary(Function::Uuid, Uuid),
        "currenttimestamp" => nullary(Function::CurrentTimestamp, Timestamp),
        "currentdate" => nullary(Function::CurrentDate, Date),
        "currenttime" => nullary(Function::CurrentTime, Time),
        "mintimeuuid" => vec![unary(Timestamp, Function::MinTimeuuid, Timeuuid)],
        "maxtimeuuid" => vec![unary(Timestamp, Function::MaxTimeuuid, Timeuuid)],
        "dateof" => vec![unary(Timeuuid, Function::ToTimestamp(Timeuuid), Timestamp)],
        "unixtimestampof" => vec![unary(Timeuuid, Function::ToUnixTimestamp(Timeuuid), Bigint)],
        "totimestamp" => [Timeuuid, Date]
            .map(|ty| unary(ty.clone(), Function::ToTimestamp(ty), Timestamp))
            .to_vec(),
        "todate" => {
            [Timeuuid, Timestamp].map(|ty| unary(ty.clone(), Function::ToDate(ty), Date)).to_vec()
        }
        "tounixtimestamp" => [Timeuuid, Timestamp, Date]
            .map(|ty| unary(ty.clone(), Function::ToUnixTimestamp(ty), Bigint))
            .to_vec(),
        _ => conversions(name),
    };
    if found.is_empty() {
        return Err(CqlError::invalid(format!("Unknown function {name} called")));
    }
    Ok(found)
}

fn conversions(name: &str) -> Vec<Signature> {
    let native =
        |wanted: &str| NATIVE.iter().find(|(name, _)| *name == wanted).map(|(_, ty)| ty.clone());
    if let Some(ty) = name.strip_prefix("blobas").and_then(native) {
        let function = Function::BlobAs(ty.clone());
        return vec![Signature { function, arguments: vec![CqlType::Blob], returns: ty }];
    }
    if let Some(ty) = name.strip_suffix("asblob").and_then(native) {
        let function = Function::AsBlob;
        return vec![Signature { function, arguments: vec![ty], returns: CqlType::Blob }];
    }
    Vec::new()
}

/// What is known of an argument before its function is chosen.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    /// A column, call or cast of this type.
    Typed(CqlType),
    /// A constant that can be of these types, for what its spelling says.
    Literal(&'static [CqlType]),
    /// A marker or null: fits everywhere.
    Any,
}

impl Argument {
    fn fits(&self, wanted: &CqlType) -> bool {
        match self {
            Self::Typed(ty) => wanted.accepts(ty),
            Self::Literal(types) => types.contains(wanted),
            Self::Any => true,
        }
    }
}

/// The one signature that takes these arguments.
pub(crate) fn choose(name: &str, arguments: &[Argument]) -> Result<Signature> {
    let mut fitting: Vec<Signature> = signatures(name)?
        .into_iter()
        .filter(|signature| {
            signature.arguments.len() == arguments.len()
                && signature.arguments.iter().zip(arguments).all(|(ty, given)| given.fits(ty))
        })
        .collect();
    match fitting.len() {
        0 => Err(CqlError::invalid(format!(
            "Invalid call to function system.{name}, none of its type signatures match"
        ))),
        1 => Ok(fitting.remove(0)),
        _ => Err(CqlError::invalid(format!(
            "Ambiguous call to function system.{name}: use type casts to disambiguate"
        ))),
    }
}
