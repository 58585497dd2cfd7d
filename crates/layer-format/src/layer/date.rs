//! Timestamps as text, for configs and listings.

use super::entry::Timestamp;

const DAY: i64 = 86_400;

impl Timestamp {
    /// The time in RFC 3339 and UTC, without a fraction of a second.
    pub fn to_second(self) -> String {
        let (days, second) = (self.seconds.div_euclid(DAY), self.seconds.rem_euclid(DAY));
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// The time in RFC 3339 and UTC, with the digits of the fraction that aren't trailing zeros.
    pub fn to_nanosecond(self) -> String {
        let text = self.to_second();
        if self.nanos == 0 {
            return text;
        }
        let fraction = format!("{:09}", self.nanos);
        format!("{}.{}Z", text.trim_end_matches('Z'), fraction.trim_end_matches('0'))
    }
}

/// Year, month and day in the Gregorian calendar, from the number of days since 1970. Years begin in March here, so
/// that a leap day comes last.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    const DAYS_TO_1970: i64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) =
        (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, nanos: u32, expected: &str) {
        assert_eq!(Timestamp { seconds, nanos }.to_nanosecond(), expected);
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        check(0, 0, "1970-01-01T00:00:00Z");
        check(1_600_000_000, 500_000_000, "2020-09-13T12:26:40.5Z");
        check(-1, 1, "1969-12-31T23:59:59.000000001Z");
        check(951_782_400, 0, "2000-02-29T00:00:00Z");
        check(4_102_444_800, 0, "2100-01-01T00:00:00Z");
        check(-62_135_596_800, 0, "0001-01-01T00:00:00Z");
        check(253_402_300_800, 0, "10000-01-01T00:00:00Z");
        Timestamp { seconds: i64::MAX, nanos: 0 }.to_second();
        Timestamp { seconds: i64::MIN, nanos: 0 }.to_second();
    }
}
