//! Gauges from an engine's Prometheus page.

use super::client::{Client, Error};

/// The sum of a gauge over all its labels, or `None` where there is no such gauge.
pub async fn sum(client: &mut Client, name: &str) -> Result<Option<u32>, Error> {
    let page = client.get_long("/metrics").await?.text()?;
    Ok(sum_in(&page, name))
}

fn sum_in(page: &str, name: &str) -> Option<u32> {
    let values = page.lines().filter_map(|line| sample(line, name));
    let total = values.fold(None, |total: Option<f64>, value| Some(total.unwrap_or(0.0) + value))?;
    // A float that is out of range or no number is cut to the range by `as`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(total as u32)
}

/// The value on a line `name{labels} value [timestamp]`.
fn sample(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let rest = match rest.strip_prefix('{') {
        Some(labels) => &labels[labels.rfind('}')? + 1..],
        None => rest,
    };
    let value = rest.strip_prefix([' ', '\t'])?.split_ascii_whitespace().next()?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_summed_over_its_labels() {
        let page = "# HELP vllm:num_requests_waiting Number of requests waiting.\n\
            # TYPE vllm:num_requests_waiting gauge\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"a } b\"} 3.0\n\
            vllm:num_requests_waiting{engine=\"1\",model_name=\"a\"} 4.0 1700000000\n\
            vllm:num_requests_waiting_by_reason{reason=\"x\"} 9.0\n";
        assert_eq!(sum_in(page, "vllm:num_requests_waiting"), Some(7));
        assert_eq!(sum_in("llamacpp:requests_deferred 2\n", "llamacpp:requests_deferred"), Some(2));
        assert_eq!(sum_in(page, "sglang:num_queue_reqs"), None);
    }

    #[test]
    fn odd_values_do_no_harm() {
        assert_eq!(sum_in("x NaN\n", "x"), Some(0));
        assert_eq!(sum_in("x -5\nx{", "x"), Some(0));
        assert_eq!(sum_in("x 1e99\n", "x"), Some(u32::MAX));
        assert_eq!(sum_in("x{a=\"\"} \nx\nx \n", "x"), None);
    }
}
