//! How the server's memory and its machine fare under the load, second by second.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::trouble::Supervised;
use crate::api::mebibytes;
use crate::process::Processors;

/// A look at the server and its machine.
pub(super) struct Look {
    pub(super) at: Duration,
    /// The server's own memory in MiB; none while it was away.
    pub(super) memory: Option<f64>,
    processors: Processors,
}

/// Looks every second.
pub(super) async fn watch(
    server: &Supervised,
    began: Instant,
    minutes: Duration,
) -> Result<Vec<Look>> {
    let (mut looks, mut at) = (Vec::new(), Duration::ZERO);
    while at <= minutes {
        sleep_until(began + at).await;
        let memory = server.usage().map(|usage| mebibytes(usage.own_bytes));
        if let Some(now) = memory.filter(|_| at.as_secs().is_multiple_of(30)) {
            eprintln!("{} s: {now:.0} MiB, started {} times", at.as_secs(), server.starts());
        }
        looks.push(Look { at, memory, processors: Processors::now()? });
        at += Duration::from_secs(1);
    }
    Ok(looks)
}

/// What the machine had left in a minute of the load.
pub(super) fn spare(looks: &[Look], from: Duration) -> String {
    let minute = from..=from + Duration::from_secs(60);
    let mut looks = looks.iter().filter(|look| minute.contains(&look.at));
    let first = looks.next().map(|look| look.processors).unwrap_or_default();
    let last = looks.next_back().map(|look| look.processors).unwrap_or_default();
    let (idle, stolen) = last.since(first);
    format!("{idle:.1}% idle, {stolen:.1}% taken by other machines")
}

/// How a figure grows in a minute, by least squares, from a moment on.
pub(super) fn slope(figures: &[(Duration, f64)], from: Duration) -> f64 {
    let points = figures.iter().filter(|(at, _)| *at >= from);
    let points: Vec<(f64, f64)> =
        points.map(|(at, figure)| (at.as_secs_f64() / 60.0, *figure)).collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_per_minute_and_of_the_end() {
        let at = |second: u64, figure: f64| (Duration::from_secs(second), figure);
        let figures = [at(0, 900.0), at(60, 10.0), at(90, 11.0), at(120, 12.0)];
        assert!((slope(&figures, Duration::from_secs(60)) - 2.0).abs() < 1e-9);
    }
}
