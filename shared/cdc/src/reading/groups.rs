//! The order of the rows that were written together.

use crate::source::LogRow;

/// Puts the rows of one group, which come in clustering order (the newest version first), in order
/// of version; also over the border of two pages.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: Vec<LogRow>,
}

impl Groups {
    /// Takes the next row; gives back the rows of the groups that are complete.
    pub(super) fn push(&mut self, row: LogRow) -> Vec<LogRow> {
        let same = self
            .open
            .first()
            .is_some_and(|first| first.time == row.time && first.stream == row.stream);
        let mut complete = if same { Vec::new() } else { self.finish() };
        let ends = row.end_of_group;
        self.open.push(row);
        if ends {
            complete.append(&mut self.finish());
        }
        complete
    }

    /// The rows of the last group, complete or not.
    pub(super) fn finish(&mut self) -> Vec<LogRow> {
        let mut group = std::mem::take(&mut self.open);
        group.sort_by_key(|row| row.announcement.version);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Announcement;
    use kernel::Version;
    use scylla_cdc::cdc_types::StreamID;
    use uuid::Uuid;

    fn row(time: u128, version: u64, end_of_group: bool) -> LogRow {
        LogRow {
            stream: StreamID::new(vec![0; 16]),
            time: Uuid::from_u128(time),
            end_of_group,
            announcement: Announcement {
                aggregate_id: Uuid::nil(),
                aggregate_type: None,
                version: Version(version),
            },
            change: None,
        }
    }

    fn check(rows: Vec<LogRow>, expected: &[u64]) {
        let mut groups = Groups::default();
        let mut out: Vec<LogRow> = rows.into_iter().flat_map(|row| groups.push(row)).collect();
        out.extend(groups.finish());
        let versions: Vec<u64> = out.iter().map(|row| row.announcement.version.0).collect();
        assert_eq!(versions, expected);
    }

    #[test]
    fn rows_of_a_group_come_in_order_of_version() {
        check(vec![row(1, 3, false), row(1, 2, false), row(1, 1, true)], &[1, 2, 3]);
    }

    #[test]
    fn groups_keep_their_order() {
        let rows = vec![row(1, 5, false), row(1, 4, true), row(2, 2, false), row(2, 1, true)];
        check(rows, &[4, 5, 1, 2]);
    }

    #[test]
    fn a_group_without_its_end_is_handed_on_when_the_next_begins_or_nothing_follows() {
        check(vec![row(1, 2, false), row(2, 4, false), row(2, 3, false)], &[2, 3, 4]);
    }
}
