//! Durations: months, days and nanoseconds, each on its own, all of one sign.

/// A duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct Duration {
    pub months: i32,
    pub days: i32,
    pub nanos: i64,
}

/// Units by name: months, days, nanoseconds of one.
const UNITS: [(&str, i64, i64, i64); 11] = [
    ("y", 12, 0, 0),
    ("mo", 1, 0, 0),
    ("w", 0, 7, 0),
    ("d", 0, 1, 0),
    ("h", 0, 0, 3_600_000_000_000),
    ("ms", 0, 0, 1_000_000),
    ("m", 0, 0, 60_000_000_000),
    ("s", 0, 0, 1_000_000_000),
    ("us", 0, 0, 1_000),
    ("µs", 0, 0, 1_000),
    ("ns", 0, 0, 1),
];

/// Parses `1h30m`, `30000ms`, `P1Y2M3DT4H5M6S`, `P4W` and `P0001-02-03T04:05:06`, with an optional
/// minus sign in front.
pub fn parse(text: &str) -> Option<Duration> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let sum = match text.strip_prefix(['P', 'p']) {
        Some(iso) if iso.contains('-') => iso_alternative(iso)?,
        Some(iso) => iso_units(iso)?,
        None => units(text)?,
    };
    sum.into_duration(negative)
}

/// Reads the three vints of a serialised duration; `None` when it is none.
pub fn decode(value: &[u8]) -> Option<Duration> {
    let (months, rest) = read_vint(value)?;
    let (days, rest) = read_vint(rest)?;
    let (nanos, rest) = read_vint(rest)?;
    let duration =
        Duration { months: i32::try_from(months).ok()?, days: i32::try_from(days).ok()?, nanos };
    let none_negative = months >= 0 && days >= 0 && nanos >= 0;
    let none_positive = months <= 0 && days <= 0 && nanos <= 0;
    (rest.is_empty() && (none_negative || none_positive)).then_some(duration)
}

impl Duration {
    /// The three vints.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        write_vint(self.months.into(), &mut out);
        write_vint(self.days.into(), &mut out);
        write_vint(self.nanos, &mut out);
        out
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.months < 0 || self.days < 0 || self.nanos < 0 {
            f.write_str("-")?;
        }
        let months = u64::from(self.months.unsigned_abs());
        let mut nanos = self.nanos.unsigned_abs();
        let mut parts =
            vec![(months / 12, "y"), (months % 12, "mo"), (self.days.unsigned_abs().into(), "d")];
        for (unit, size) in [
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ] {
            parts.push((nanos / size, unit));
            nanos %= size;
        }
        parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    nanos: i64,
}

impl Sum {
    fn add(&mut self, count: i64, (months, days, nanos): (i64, i64, i64)) -> Option<()> {
        self.months = self.months.checked_add(count.checked_mul(months)?)?;
        self.days = self.days.checked_add(count.checked_mul(days)?)?;
        self.nanos = self.nanos.checked_add(count.checked_mul(nanos)?)?;
        Some(())
    }

    fn into_duration(self, negative: bool) -> Option<Duration> {
        let sign = if negative { -1 } else { 1 };
        Some(Duration {
            months: i32::try_from(self.months).ok()? * sign as i32,
            days: i32::try_from(self.days).ok()? * sign as i32,
            nanos: self.nanos * sign,
        })
    }
}

fn units(mut text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let (count, rest) = leading_number(text)?;
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let name = rest[..end].to_lowercase();
        let (_, months, days, nanos) = *UNITS.iter().find(|(unit, ..)| *unit == name)?;
        sum.add(count, (months, days, nanos))?;
        text = &rest[end..];
    }
    Some(sum)
}

fn iso_units(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut rest = text;
    let mut in_time = false;
    let mut parts = 0;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']).filter(|_| !in_time) {
            in_time = true;
            rest = after;
            continue;
        }
        let (count, after) = leading_number(rest)?;
        let unit = after.chars().next()?.to_ascii_uppercase();
        sum.add(
            count,
            match (in_time, unit) {
                (false, 'Y') => (12, 0, 0),
                (false, 'M') => (1, 0, 0),
                (false, 'W') => (0, 7, 0),
                (false, 'D') => (0, 1, 0),
                (true, 'H') => (0, 0, 3_600_000_000_000),
                (true, 'M') => (0, 0, 60_000_000_000),
                (true, 'S') => (0, 0, 1_000_000_000),
                _ => return None,
            },
        )?;
        parts += 1;
        rest = &after[1..];
    }
    (parts > 0).then_some(sum)
}

/// `yyyy-mm-ddThh:mm:ss`
fn iso_alternative(text: &str) -> Option<Sum> {
    let (day, clock) = text.split_once(['T', 't'])?;
    let mut sum = Sum::default();
    let of_day = [(12, 0, 0), (1, 0, 0), (0, 1, 0)];
    let of_clock = [(0, 0, 3_600_000_000_000), (0, 0, 60_000_000_000), (0, 0, 1_000_000_000)];
    for (part, separator, units) in [(day, '-', of_day), (clock, ':', of_clock)] {
        let fields: Vec<&str> = part.split(separator).collect();
        if fields.len() != 3 {
            return None;
        }
        for (field, unit) in fields.into_iter().zip(units) {
            let (count, rest) = leading_number(field)?;
            if !rest.is_empty() {
                return None;
            }
            sum.add(count, unit)?;
        }
    }
    Some(sum)
}

fn leading_number(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A zigzag-coded number of one to nine bytes: the leading ones of the first byte say how many
/// follow.
fn write_vint(value: i64, out: &mut Vec<u8>) {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    let bits = 64 - (zigzag | 1).leading_zeros();
    let extra = ((bits - 1) / 7).min(8);
    let bytes = zigzag.to_be_bytes();
    if extra == 8 {
        out.push(0xff);
        out.extend_from_slice(&bytes);
        return;
    }
    let start = out.len();
    out.extend_from_slice(&bytes[7 - extra as usize..]);
    out[start] |= !(0xff_u32 >> extra) as u8;
}

fn read_vint(value: &[u8]) -> Option<(i64, &[u8])> {
    let (first, rest) = value.split_first()?;
    let extra = first.leading_ones() as usize;
    let (bytes, rest) = rest.split_at_checked(extra)?;
    let head = if extra >= 7 { 0 } else { u64::from(*first) & (0x7f >> extra) };
    let zigzag = bytes.iter().fold(head, |value, byte| value << 8 | u64::from(*byte));
    Some(((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), rest))
}
