//! The few shapes that the pictures are made of.

use std::fmt::Write;

/// As wide as a README is shown.
pub(super) const WIDTH: f64 = 830.0;

/// A picture that grows line by line.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

/// Where a text has its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.body,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        );
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str, width: f64) {
        let list: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}"/>"#,
            list.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(self.body, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let (x, y) = at;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        );
    }

    /// A name in the colour of what it names.
    pub(super) fn coloured(&mut self, (x, y): (f64, f64), colour: &str, text: &str) {
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" style="fill: {colour}">{text}</text>"#);
    }

    /// The whole file, on white, as READMEs are also shown on black.
    pub(super) fn finish(self, height: f64) -> String {
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}">
<style>text {{ font: 12px sans-serif; fill: #222 }} .title {{ font: bold 15px sans-serif }} .row {{ font-weight: bold }} .small {{ font-size: 11px; fill: #555 }}</style>
<rect width="100%" height="100%" fill="white"/>
{}</svg>
"##,
            self.body
        )
    }
}

/// A logarithmic axis between two values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Log {
    /// From the least to the greatest of the values.
    pub(super) fn between(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = ends(values).unwrap_or((0.0, 1.0));
        Self { low, high: high.max(low + 0.1), from, to }
    }

    /// Over whole decades that hold all of the values.
    pub(super) fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = ends(values).map_or((0.0, 1.0), |(low, high)| (low.floor(), high.ceil()));
        Self { low, high: high.max(low + 1.0), from, to }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    pub(super) fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// The logarithms of the least and the greatest value.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let logarithms = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
    logarithms.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// A short form of a round number.
pub(super) fn short(value: f64) -> String {
    match value {
        1e9.. => format!("{}G", value / 1e9),
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        1.0.. => format!("{value}"),
        _ => format!("{value:.3}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_whole_decades() {
        let axis = Log::over([0.5, 30.0].into_iter(), 0.0, 300.0);
        assert_eq!(axis.decades().collect::<Vec<_>>(), [0.1, 1.0, 10.0, 100.0]);
        assert!((axis.at(1.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.1, 1.0, 1000.0, 1e7].map(short), ["0.1", "1", "1k", "10M"]);
    }
}
