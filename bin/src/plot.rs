//! Pictures of measurements: axes, lines and a legend, as SVG that any browser shows.
//!
//! ```text
//!   title
//!   │ a line across for each tick              names of the lines
//!   │   lines; dots where names stand below
//!   └──────────────────────────────
//!     ticks, and what the axis counts
//! ```
//! A picture is text, and the same numbers make the same text. It brings its own page and colours,
//! and darker ones for a reader who prefers them. Whatever is named in it was escaped.
//!
//! Not here: what is drawn (`bench/pictures.rs`).

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Where the lines are, in units of the picture; the names of the lines stand to the right.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 344.0;
/// From one name to the next.
const NAME_HEIGHT: f64 = 20.0;
/// Colours that the style knows; after them they come again, dashed.
const COLOURS: usize = 6;
/// A line of more points than this is drawn without a dot at each.
const DOTS_MAX: usize = 16;
/// About so many steps has an axis of even ones.
const STEPS: f64 = 5.0;

/// The colours can be told apart by most people who see few of them.
const STYLE: &str = "<style>\n\
    text{font:12px sans-serif;fill:#1f2328}.title{font-size:15px}.page{fill:#ffffff}\n\
    .grid{stroke:#d8dee4}.axis{stroke:#57606a;fill:none}\n\
    .line{fill:none;stroke:currentColor;stroke-width:1.6}.dot{fill:currentColor}\n\
    .dashed{stroke-dasharray:6 3}\n\
    .k0{color:#0072b2}.k1{color:#d55e00}.k2{color:#00805d}.k3{color:#b0508a}.k4{color:#a87000}\n\
    .k5{color:#3a8fc4}\n\
    @media(prefers-color-scheme:dark){\n\
    text{fill:#e6edf3}.page{fill:#0d1117}.grid{stroke:#30363d}.axis{stroke:#8b949e}\n\
    .k0{color:#4aa8e0}.k1{color:#ff8c42}.k2{color:#2fc79a}.k3{color:#e39bc6}.k4{color:#f0b429}\n\
    .k5{color:#9fd3f5}}\n\
    </style>\n";

/// How values lie along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In even steps, from zero.
    Even,
    /// Ten times as much is as far everywhere; what is not above zero stands at the beginning.
    Tenfold,
    /// Shares of one: the rest is a tenth of what it was after each step.
    Nines,
    /// The value is the place of one of these names.
    Named(Vec<String>),
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts.
    pub label: &'static str,
    /// How.
    pub scale: Scale,
}

/// A line, or dots where the axis has names.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Across and up.
    pub points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// To the right.
    pub across: Axis,
    /// Upwards.
    pub up: Axis,
    /// What is drawn, in the order of its names.
    pub lines: Vec<Line>,
}

/// An axis over some values.
struct Ruler<'a> {
    scale: &'a Scale,
    /// What is at both ends, in the axis's own measure.
    ends: (f64, f64),
    /// Where both ends are in the picture.
    places: (f64, f64),
    /// In the axis's own measure.
    ticks: Vec<(f64, String)>,
}

/// What XML lets nobody write as it is.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut all, sign| {
        match sign {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            sign if sign.is_control() => all.push('\u{fffd}'),
            sign => all.push(sign),
        }
        all
    })
}

/// A number with few letters.
fn short(number: f64) -> String {
    let (scaled, unit) = match number.abs() {
        size if size >= 1e9 => (number / 1e9, "G"),
        size if size >= 1e6 => (number / 1e6, "M"),
        size if size >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let digits = if scaled.abs() < 0.1 { 4 } else { 2 };
    let text = format!("{scaled:.digits$}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A step of 1, 2 or 5 of some power of ten, at least this large.
fn even_step(least: f64) -> f64 {
    let power = 10_f64.powi(least.log10().floor() as i32);
    let digit = match least / power {
        rest if rest <= 1.0 => 1.0,
        rest if rest <= 2.0 => 2.0,
        rest if rest <= 5.0 => 5.0,
        _ => 10.0,
    };
    digit * power
}

impl Scale {
    /// A value in the axis's own measure.
    fn measure(&self, value: f64) -> f64 {
        match self {
            Self::Even | Self::Named(_) => value,
            Self::Tenfold => value.max(f64::MIN_POSITIVE).log10(),
            Self::Nines => -(1.0 - value).max(f64::EPSILON).log10(),
        }
    }

    /// Both ends and the ticks between, for these values.
    fn over(&self, values: impl Iterator<Item = f64>) -> ((f64, f64), Vec<(f64, String)>) {
        match self {
            Self::Even => {
                let most = values.fold(0.0, f64::max);
                let step = even_step(if most > 0.0 { most / STEPS } else { 1.0 / STEPS });
                let steps = (most / step - 1e-9).ceil().max(1.0) as u32;
                let tick = |at: u32| (f64::from(at) * step, short(f64::from(at) * step));
                ((0.0, f64::from(steps) * step), (0..=steps).map(tick).collect())
            }
            Self::Tenfold => {
                let positive = values.filter(|value| *value > 0.0);
                let ends = positive.fold(None, |ends: Option<(f64, f64)>, value| {
                    let (least, most) = ends.unwrap_or((value, value));
                    Some((least.min(value), most.max(value)))
                });
                let (least, most) = ends.unwrap_or((1.0, 10.0));
                // A power of ten is its own end, however its logarithm was rounded.
                let first = (least.log10() + 1e-9).floor() as i32;
                let last = ((most.log10() - 1e-9).ceil() as i32).max(first + 1);
                let digits: &[f64] = if last - first > 2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let all = (first..=last)
                    .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
                let within = |(at, _): &(f64, String)| *at <= f64::from(last) + 1e-9;
                let ticks = all.map(|value| (value.log10(), short(value))).filter(within);
                ((f64::from(first), f64::from(last)), ticks.collect())
            }
            Self::Nines => {
                let most = values.map(|value| self.measure(value)).fold(1.0, f64::max);
                let shares = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                let names = ["0", "50", "90", "99", "99.9", "99.99", "99.999"];
                let all = shares.into_iter().zip(names);
                let ticks = all.map(|(share, name)| (self.measure(share), name.to_owned()));
                ((0.0, most), ticks.filter(|(at, _)| *at <= most + 1e-9).collect())
            }
            Self::Named(names) => {
                let ticks = names.iter().enumerate().map(|(at, name)| (at as f64, name.clone()));
                ((-0.5, names.len().max(1) as f64 - 0.5), ticks.collect())
            }
        }
    }
}

impl<'a> Ruler<'a> {
    fn new(scale: &'a Scale, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (ends, ticks) = scale.over(values);
        Self { scale, ends, places, ticks }
    }

    /// Where something of the axis's own measure is in the picture.
    fn place(&self, measured: f64) -> f64 {
        let ((first, last), (begin, end)) = (self.ends, self.places);
        let share = ((measured - first) / (last - first)).clamp(0.0, 1.0);
        begin + share * (end - begin)
    }

    /// Where a value is in the picture.
    fn at(&self, value: f64) -> f64 {
        self.place(self.scale.measure(value))
    }
}

impl Plot {
    /// As an SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || {
            let all = self.lines.iter().flat_map(|line| line.points.iter().copied());
            all.filter(|(across, up)| across.is_finite() && up.is_finite())
        };
        let across = Ruler::new(&self.across.scale, points().map(|at| at.0), (LEFT, RIGHT));
        let up = Ruler::new(&self.up.scale, points().map(|at| at.1), (BOTTOM, TOP));
        let mut text = self.head();
        self.axes(&mut text, &across, &up);
        for (number, line) in self.lines.iter().enumerate() {
            self.line(&mut text, number, line, &across, &up);
        }
        text.push_str("</svg>\n");
        text
    }

    fn head(&self) -> String {
        let title = escaped(&self.title);
        let height = HEIGHT.max(TOP + NAME_HEIGHT * (self.lines.len() as f64 + 1.0));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n\
             {STYLE}\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"24\">{title}</text>\n"
        )
    }

    fn axes(&self, text: &mut String, across: &Ruler<'_>, up: &Ruler<'_>) {
        // Writing into a string does not fail.
        for (tick, name) in &up.ticks {
            let (at, name) = (up.place(*tick), escaped(name));
            let (beside, below) = (LEFT - 6.0, at + 4.0);
            let _written = writeln!(
                text,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\
                 <text x=\"{beside}\" y=\"{below:.1}\" text-anchor=\"end\">{name}</text>"
            );
        }
        for (tick, name) in &across.ticks {
            let (at, name) = (across.place(*tick), escaped(name));
            let (end, below) = (BOTTOM + 5.0, BOTTOM + 19.0);
            let _written = writeln!(
                text,
                "<path class=\"axis\" d=\"M{at:.1} {BOTTOM}V{end}\"/>\
                 <text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{name}</text>"
            );
        }
        let (middle, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 40.0);
        // Beside the title, and clear of the highest tick.
        let (before, above) = (LEFT - 6.0, TOP - 16.0);
        let (right, upwards) = (escaped(self.across.label), escaped(self.up.label));
        let _written = writeln!(
            text,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>\n\
             <text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{right}</text>\n\
             <text x=\"{before}\" y=\"{above}\" text-anchor=\"end\">{upwards}</text>"
        );
    }

    fn line(
        &self,
        text: &mut String,
        number: usize,
        line: &Line,
        across: &Ruler<'_>,
        up: &Ruler<'_>,
    ) {
        let is_finite = |(across, up): &&(f64, f64)| across.is_finite() && up.is_finite();
        let points = line.points.iter().filter(is_finite);
        let places: Vec<(f64, f64)> = points.map(|at| (across.at(at.0), up.at(at.1))).collect();
        let colour = number % COLOURS;
        let dashed = if (number / COLOURS).is_multiple_of(2) { "" } else { " dashed" };
        let is_named = matches!(self.across.scale, Scale::Named(_));
        // Writing into a string does not fail.
        if !is_named && places.len() > 1 {
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let path = path.join("L");
            let _written = writeln!(text, "<path class=\"line k{colour}{dashed}\" d=\"M{path}\"/>");
        }
        if is_named || places.len() <= DOTS_MAX {
            for (x, y) in &places {
                let _written = writeln!(
                    text,
                    "<circle class=\"dot k{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
                );
            }
        }
        let (from, to, beside) = (RIGHT + 14.0, RIGHT + 34.0, RIGHT + 40.0);
        let middle = TOP + NAME_HEIGHT * number as f64 + 6.0;
        let (below, name) = (middle + 4.0, escaped(&line.name));
        let _written = writeln!(
            text,
            "<path class=\"line k{colour}{dashed}\" d=\"M{from} {middle}H{to}\"/>\
             <text x=\"{beside}\" y=\"{below}\">{name}</text>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(across: Scale, up: Scale, points: &[(f64, f64)]) -> Plot {
        Plot {
            title: "a < b".to_owned(),
            across: Axis { label: "seconds", scale: across },
            up: Axis { label: "µs", scale: up },
            lines: vec![Line { name: "x & \"y\"\n".to_owned(), points: points.to_vec() }],
        }
    }

    /// Nothing at a place that is none.
    #[track_caller]
    fn sound(svg: &str) {
        for word in ["NaN", "inf", "\"-", "d=\"M\"", "M-", "L-"] {
            assert!(!svg.contains(word), "{word} in {svg}");
        }
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    }

    #[test]
    fn a_small_picture_is_this_text() {
        let points = [(0.0, 10.0), (2.0, 0.0), (5.0, 100_000.0), (3.0, f64::NAN)];
        let svg = plot(Scale::Even, Scale::Tenfold, &points).svg();
        let up = [(344, "10"), (269, "100"), (194, "1k"), (119, "10k"), (44, "100k")];
        let up = up.map(|(at, name)| {
            format!(
                "<path class=\"grid\" d=\"M70 {at}.0H540\"/>\
                 <text x=\"64\" y=\"{}.0\" text-anchor=\"end\">{name}</text>\n",
                at + 4
            )
        });
        let across = [(70, 0), (164, 1), (258, 2), (352, 3), (446, 4), (540, 5)];
        let across = across.map(|(at, name)| {
            format!(
                "<path class=\"axis\" d=\"M{at}.0 344V349\"/>\
                 <text x=\"{at}.0\" y=\"363\" text-anchor=\"middle\">{name}</text>\n"
            )
        });
        let (up, across) = (up.concat(), across.concat());
        let expected = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 400\" width=\"720\" \
             height=\"400\" role=\"img\">\n<title>a &lt; b</title>\n",
            STYLE,
            "<rect class=\"page\" width=\"720\" height=\"400\"/>\n\
             <text class=\"title\" x=\"70\" y=\"24\">a &lt; b</text>\n",
            &up,
            &across,
            "<path class=\"axis\" d=\"M70 44V344H540\"/>\n\
             <text x=\"305\" y=\"384\" text-anchor=\"middle\">seconds</text>\n\
             <text x=\"64\" y=\"28\" text-anchor=\"end\">µs</text>\n\
             <path class=\"line k0\" d=\"M70.0 344.0L258.0 344.0L540.0 44.0\"/>\n\
             <circle class=\"dot k0\" cx=\"70.0\" cy=\"344.0\" r=\"3\"/>\n\
             <circle class=\"dot k0\" cx=\"258.0\" cy=\"344.0\" r=\"3\"/>\n\
             <circle class=\"dot k0\" cx=\"540.0\" cy=\"44.0\" r=\"3\"/>\n\
             <path class=\"line k0\" d=\"M554 50H574\"/>\
             <text x=\"580\" y=\"54\">x &amp; &quot;y&quot;\u{fffd}</text>\n\
             </svg>\n",
        ];
        assert_eq!(svg, expected.concat());
    }

    #[test]
    fn pictures_of_little_are_pictures() {
        for points in [&[][..], &[(0.0, 0.0)], &[(1.0, 1.0)], &[(0.9999, 7.0), (0.5, 7.0)]] {
            for up in [Scale::Even, Scale::Tenfold] {
                let names = Scale::Named(vec!["one".to_owned(), "two".to_owned()]);
                for across in [Scale::Even, Scale::Tenfold, Scale::Nines, names] {
                    sound(&plot(across, up.clone(), points).svg());
                }
            }
        }
        sound(&plot(Scale::Named(Vec::new()), Scale::Even, &[]).svg());
    }

    #[test]
    fn many_lines_have_room_for_their_names_and_differ() {
        let mut many = plot(Scale::Even, Scale::Even, &[(0.0, 1.0), (1.0, 2.0)]);
        many.lines = (0..30).map(|_| many.lines[0].clone()).collect();
        let svg = many.svg();
        assert!(svg.contains("viewBox=\"0 0 720 664\""), "{svg}");
        let kinds = [0, 5, 6, 11].map(|number| {
            let dashed = if number < COLOURS { "" } else { " dashed" };
            format!("class=\"line k{}{dashed}\" d=\"M70.0", number % COLOURS)
        });
        for kind in kinds {
            assert!(svg.contains(&kind), "{kind} is not in {svg}");
        }
    }

    #[test]
    fn ticks_are_round_and_reach_the_largest() {
        let check = |scale: Scale, values: &[f64], expect: &str| {
            let (_, ticks) = scale.over(values.iter().copied());
            let names: Vec<&str> = ticks.iter().map(|(_, name)| name.as_str()).collect();
            assert_eq!(names.join(" "), expect, "{values:?}");
        };
        check(Scale::Even, &[5.0], "0 1 2 3 4 5");
        check(Scale::Even, &[0.7], "0 0.2 0.4 0.6 0.8");
        check(Scale::Even, &[1_900_000.0], "0 500k 1M 1.5M 2M");
        check(Scale::Even, &[], "0 0.2");
        check(Scale::Tenfold, &[3.0, 40.0], "1 2 5 10 20 50 100");
        check(Scale::Tenfold, &[0.0, 10.0], "10 20 50 100");
        check(Scale::Tenfold, &[0.02, 1000.0], "0.01 0.1 1 10 100 1k");
        check(Scale::Nines, &[0.999], "0 50 90 99 99.9");
        check(Scale::Nines, &[0.2], "0 50 90");
    }
}
