//! Rows before and after a change.

use super::*;

#[tokio::test]
async fn images_show_the_row_before_and_after() {
    let fixture = Fixture::new(CdcOptions { preimage: Preimage::Changed, postimage: true, ..OFF });
    fixture
        .run(|m, ts| {
            let row = marked(m, 1, ts);
            set(row, V, Some(1), ts);
            set(row, W, Some(1), ts);
        })
        .await;
    fixture.run(|m, ts| set(m.row_mut(vec![int(1)]), V, Some(2), ts)).await;
    fixture.run(|m, ts| set(m.row_mut(vec![int(1)]), V, None, ts)).await;
    fixture.run(|m, ts| delete_row(m, 1, ts)).await;
    check(
        &fixture.log(),
        &[
            &["0: c=1 op2 v=1 w=1", "1: c=1 end op9 v=1 w=1"],
            &["0: c=1 op0 v=1", "1: c=1 op1 v=2", "2: c=1 end op9 v=2 w=1"],
            &["0: c=1 op0 v=2", "1: c=1 deleted_v op1", "2: c=1 end op9 w=1"],
            &["0: c=1 deleted_v op0 w=1", "1: c=1 end op3"],
        ],
    );
}

#[tokio::test]
async fn full_preimages_with_keys_only() {
    let options = CdcOptions { preimage: Preimage::Full, full_delta: false, ..OFF };
    let fixture = Fixture::new(options);
    fixture
        .run(|m, ts| {
            let row = marked(m, 1, ts);
            set(row, V, Some(1), ts);
            set(row, W, Some(1), ts);
        })
        .await;
    fixture.run(|m, ts| set(m.row_mut(vec![int(1)]), V, Some(2), ts)).await;
    fixture.run(|m, ts| m.set_static(S, Cell::live(ts, int(1)))).await;
    fixture.run(|m, ts| m.set_static(S, Cell::dead(ts, 1))).await;
    check(
        &fixture.log(),
        &[
            &["0: c=1 end op2"],
            &["0: c=1 op0 v=1 w=1", "1: c=1 end op1"],
            &["0: end op1"],
            &["0: op0 s=1", "1: end op1"],
        ],
    );
}

#[tokio::test]
async fn images_of_later_groups_see_the_earlier_ones() {
    let fixture = Fixture::new(CdcOptions { preimage: Preimage::Changed, postimage: true, ..OFF });
    fixture
        .run(|m, ts| {
            inserted(m, 1, 1, ts - 10);
            set(m.row_mut(vec![int(1)]), W, Some(2), ts);
            delete_range(m, Bound::Included(0), Bound::Included(9), ts - 5);
        })
        .await;
    check(
        &fixture.log(),
        &[
            &["0: c=1 op2 v=1", "1: c=1 end op9 v=1"],
            &["0: c=0 op5", "1: c=9 end op7"],
            // Gone again before the last change: no preimage.
            &["0: c=1 op1 w=2", "1: c=1 end op9 w=2"],
        ],
    );
}
