//! Text forms of `timestamp`, `date` and `time`.

/// Days before 1970-01-01 that a `date` can say, which is also where its encoding starts.
const DATE_CENTER: i64 = 1 << 31;
const MS_PER_DAY: i64 = 86_400_000;
pub(super) const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// `2026-11-23`, `2026-11-23 12:34:56.789+0000`, `2026-11-23T12:34Z`, or milliseconds, to
/// milliseconds since 1970. Without a zone it is UTC.
pub(super) fn timestamp_from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(ms) = text.parse::<i64>() {
        return Some(ms);
    }
    let (day, rest) = match text.find([' ', 'T', 't']) {
        Some(at) => (&text[..at], text[at + 1..].trim_start()),
        // A zone may follow the date at once.
        None => match text.find(['Z', 'z', '+']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    let days = days_from_text(day)?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let clock = clock.trim_end();
    let nanos = if clock.is_empty() { 0 } else { clock_from_text(clock, false)? };
    let shift_ms = i64::from(zone_minutes(zone)?) * 60_000;
    days.checked_mul(MS_PER_DAY)?.checked_add(nanos / 1_000_000)?.checked_sub(shift_ms)
}

/// `2026-11-23` or days with 1970-01-01 = 2³¹, as `date` stores it.
pub(super) fn date_from_text(text: &str) -> Option<u32> {
    if let Ok(days) = text.parse::<i64>() {
        return u32::try_from(days).ok();
    }
    u32::try_from(days_from_text(text)?.checked_add(DATE_CENTER)?).ok()
}

/// `12:34:56.789` or nanoseconds, to nanoseconds since midnight.
pub(super) fn time_from_text(text: &str) -> Option<i64> {
    let nanos = match text.parse::<i64>() {
        Ok(nanos) => nanos,
        Err(_) => clock_from_text(text, true)?,
    };
    (0..NANOS_PER_DAY).contains(&nanos).then_some(nanos)
}

/// `2026-11-23T12:34:56.789Z`
pub(super) fn timestamp_to_text(ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(MS_PER_DAY));
    let of_day = ms.rem_euclid(MS_PER_DAY);
    let seconds = of_day / 1000;
    format!(
        "{}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        year_text(year),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        of_day % 1000
    )
}

/// `2026-11-23`
pub(super) fn date_to_text(days: u32) -> String {
    let (year, month, day) = civil_from_days(i64::from(days) - DATE_CENTER);
    format!("{}-{month:02}-{day:02}", year_text(year))
}

/// `12:34:56.789000000`
pub(super) fn time_to_text(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    format!(
        "{:02}:{:02}:{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        nanos.rem_euclid(1_000_000_000)
    )
}

fn year_text(year: i64) -> String {
    if year < 0 { format!("-{:04}", -year) } else { format!("{year:04}") }
}

/// `[-]yyyy-mm-dd` to days since 1970.
fn days_from_text(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = digits.split('-');
    let year = number(parts.next()?, 4..=9)?;
    let month = number(parts.next()?, 1..=2)?;
    let day = number(parts.next()?, 1..=2)?;
    if parts.next().is_some() || !(1..=12).contains(&month) {
        return None;
    }
    let year = if negative { -year } else { year };
    (1..=days_in_month(year, month)).contains(&day).then(|| days_from_civil(year, month, day))
}

/// `hh:mm[:ss[.fff]]` to nanoseconds; seconds and up to nine fraction digits, or three for
/// timestamps.
fn clock_from_text(text: &str, nanos: bool) -> Option<i64> {
    let mut parts = text.split(':');
    let hours = number(parts.next()?, 1..=2)?;
    let minutes = number(parts.next()?, 1..=2)?;
    let seconds = match parts.next() {
        Some(seconds) => seconds,
        None if nanos => return None,
        None => "0",
    };
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits_max = if nanos { 9 } else { 3 };
    let fraction_value = number(fraction, 1..=digits_max)?;
    let scale = 10i64.pow(u32::try_from(9 - fraction.len()).ok()?);
    let seconds = number(seconds, 1..=2)?;
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + fraction_value * scale)
}

/// ``, `Z`, `+hh`, `+hhmm`, `+hh:mm` to minutes east of UTC.
fn zone_minutes(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (text.len() == 1).then_some(0),
        Some(b'-') => (-1, &text[1..]),
        Some(_) => (1, &text[1..]),
    };
    let digits: String = match digits.split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => {
            format!("{hours}{minutes}")
        }
        Some(_) => return None,
        None => digits.to_owned(),
    };
    let value = i32::try_from(number(&digits, 2..=4)?).ok()?;
    let (hours, minutes) = match digits.len() {
        2 => (value, 0),
        4 => (value / 100, value % 100),
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Digits only, and as many as allowed.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    if !digits.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 in the proleptic Gregorian calendar. Years start in March here, so that the leap
/// day is the last of its year and 400-year eras are all alike.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
