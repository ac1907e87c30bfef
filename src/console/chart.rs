//! The balance of an account over its time: read at a few moments, drawn as a line of steps, and written as a table.

use futures_util::future::try_join_all;
use maud::{Markup, html};

use super::{
    layout::table,
    money,
    service::{Service, ServiceError, found},
    time,
};
use crate::{
    accounting::Timestamp,
    grpc::proto::{Account, Balance, GetAccountRequest},
};

/// At how many moments the balance is read.
const MOMENTS: i64 = 33;
const WIDTH: i128 = 640;
const HEIGHT: i128 = 160;
const LINE_PLACE: i128 = 8;

/// The balance at a moment.
pub(super) struct Point {
    time: Timestamp,
    balance: Balance,
}

/// Reads the balance at moments between the first entry and now.
pub(super) async fn points(service: &Service, account: &Account) -> Result<Vec<Point>, ServiceError> {
    let (begin, end) = (time::of(account.create_time.as_ref()).unix_micros(), time::now().unix_micros());
    let step = (end.saturating_sub(begin) / (MOMENTS - 1)).max(1);
    let moments =
        (0..MOMENTS).map(|n| Timestamp::from_unix_micros(begin.saturating_add(step.saturating_mul(n))));
    let read = moments.map(|time| async move {
        let as_of = Some(time::message(time));
        let answer =
            service.get_account(GetAccountRequest { account_id: account.account_id.clone(), as_of }).await;
        let balance = found(answer)?.and_then(|answer| answer.account?.balance);
        Ok(balance.map(|balance| Point { time, balance }))
    });
    Ok(try_join_all(read).await?.into_iter().flatten().collect())
}

/// The line, and the table for whoever does not see it.
pub(super) fn section(points: &[Point]) -> Markup {
    html! {
        section aria-labelledby="time" {
            h2 id="time" { "Balance over time" }
            @match points {
                [first, .., last] => {
                    (line(points, first, last))
                    details {
                        summary { "The same as a table" }
                        (as_table(points))
                    }
                }
                [] | [_] => p { "There is nothing to compare yet." },
            }
        }
    }
}

fn line(points: &[Point], first: &Point, last: &Point) -> Markup {
    let sums = || {
        points.iter().flat_map(|point| [point.balance.posted_micro_usd, point.balance.available_micro_usd])
    };
    let (lowest, highest) = (sums().min().unwrap_or(0).min(0), sums().max().unwrap_or(0).max(0));
    let scale = Scale { begin: first.time, end: last.time, lowest, highest };
    let box_of = format!("0 0 {WIDTH} {}", HEIGHT + 2 * LINE_PLACE);
    html! {
        figure {
            svg class="chart" viewBox=(box_of) role="img" aria-labelledby="chart-title" preserveAspectRatio="none" {
                title id="chart-title" {
                    "From " (time::to_the_second(first.time)) " to " (time::to_the_second(last.time)) ": posted went from "
                    (money::usd(first.balance.posted_micro_usd)) " to " (money::usd(last.balance.posted_micro_usd))
                    ", between " (money::usd(lowest)) " and " (money::usd(highest))
                }
                line class="zero" x1="0" x2=(WIDTH) y1=(scale.y(0)) y2=(scale.y(0)) {}
                path class="posted" d=(scale.path(points, |balance| balance.posted_micro_usd)) {}
                path class="available" d=(scale.path(points, |balance| balance.available_micro_usd)) {}
            }
            figcaption {
                span class="posted" { "posted" } " and " span class="available" { "available" }
                ", read at " (points.len()) " moments from " (time::to_the_second(first.time)) " to "
                (time::to_the_second(last.time)) "; from " (money::usd(lowest)) " to " (money::usd(highest))
            }
        }
    }
}

/// Where times and sums are in the picture.
struct Scale {
    begin: Timestamp,
    end: Timestamp,
    lowest: i64,
    highest: i64,
}

impl Scale {
    fn x(&self, time: Timestamp) -> i128 {
        let (begin, end) = (self.begin.unix_micros(), self.end.unix_micros());
        WIDTH * (i128::from(time.unix_micros()) - i128::from(begin))
            / (i128::from(end) - i128::from(begin)).max(1)
    }

    fn y(&self, micro_usd: i64) -> i128 {
        let range = (i128::from(self.highest) - i128::from(self.lowest)).max(1);
        LINE_PLACE + HEIGHT * (i128::from(self.highest) - i128::from(micro_usd)) / range
    }

    /// A balance stays until it changes: steps.
    fn path(&self, points: &[Point], sum: fn(&Balance) -> i64) -> String {
        let steps =
            points.iter().map(|point| format!("H{} V{}", self.x(point.time), self.y(sum(&point.balance))));
        let start = points.first().map_or(0, |point| self.y(sum(&point.balance)));
        format!("M0 {start} {}", steps.collect::<Vec<_>>().join(" "))
    }
}

fn as_table(points: &[Point]) -> Markup {
    let rows = html! {
        thead {
            tr {
                th scope="col" { "At" } th scope="col" class="sum" { "Posted" } th scope="col" class="sum" { "Held" }
                th scope="col" class="sum" { "Available" }
            }
        }
        tbody {
            @for Point { time, balance } in points {
                tr {
                    td { (time::to_the_second(*time)) }
                    td class="sum" { (money::usd(balance.posted_micro_usd)) }
                    td class="sum" { (money::usd(balance.held_micro_usd)) }
                    td class="sum" { (money::usd(balance.available_micro_usd)) }
                }
            }
        }
    };
    table("Balance over time", &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(micros: i64, posted: i64) -> Point {
        let balance = Balance { posted_micro_usd: posted, available_micro_usd: posted, ..Default::default() };
        Point { time: Timestamp::from_unix_micros(micros), balance }
    }

    #[test]
    fn the_line_goes_in_steps_and_stays_in_the_picture_at_the_extremes() {
        let points = [point(0, 0), point(5, i64::MAX), point(10, i64::MIN)];
        let scale = Scale {
            begin: Timestamp::from_unix_micros(0),
            end: Timestamp::from_unix_micros(10),
            lowest: i64::MIN,
            highest: i64::MAX,
        };
        assert_eq!(scale.path(&points, |balance| balance.posted_micro_usd), "M0 87 H0 V87 H320 V8 H640 V168");
    }
}
