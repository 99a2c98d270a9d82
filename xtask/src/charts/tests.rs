use super::*;

use std::ops::Range;

fn result(shape: &str, contender: &str, engine: &str, figure: f64, void: bool) -> String {
    format!(
        "{{\"shape\":\"{shape}\",\"contender\":\"{contender}\",\"engine\":\"{engine}\",\"durability\":\"synced\",\"callers\":1,\
         \"batch\":1,\"jobs\":10,\"jobs_per_s\":{figure},\"p50_us\":{figure},\"p99_us\":{},\"p999_us\":{},\"rss_bytes\":1,\
         \"bytes_per_job\":null,\"fsync_p50_us\":100.0,\"void\":{void},\"lost\":0,\"doubled\":0,\"figures\":{{}}}}\n",
        figure * 2.0,
        figure * 8.0,
    )
}

/// Files of these texts, and where charts may go.
struct Place {
    directory: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Place {
    fn with(texts: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (nth, text) in texts.iter().enumerate() {
            let file = directory.path().join(format!("{nth}.json"));
            fs::write(&file, text).unwrap();
            files.push(file);
        }
        Place { directory, files }
    }

    fn figures(&self) -> Figures {
        let Ok(figures) = Figures::read(&self.files) else { panic!("the files are refused") };
        figures
    }

    fn charts(&self) -> PathBuf {
        self.directory.path().join("charts")
    }
}

fn points(lines: &[figures::Line]) -> Vec<(String, Vec<(f64, f64)>)> {
    lines.iter().map(|line| (line.contender.label.clone(), line.points.clone())).collect()
}

fn throughput_of(figures: &Figures) -> Vec<(String, Vec<(f64, f64)>)> {
    let callers = |shape| if let Shape::Enqueue(callers) = shape { Some(callers) } else { None };
    points(&figures.lines(callers, |result| Some(result.jobs_per_s)))
}

#[test]
fn a_line_has_the_medians_of_the_rounds_of_all_files_without_the_void_ones() {
    let first = [
        result("enqueue-16", "poolqueue", "redb", 300.0, false),
        result("enqueue-1", "poolqueue", "redb", 10.0, false),
        result("enqueue-1", "poolqueue", "sqlite", 7.0, false),
        result("enqueue-1", "fang", "sqlite", 5.0, true),
    ];
    let second = [
        result("enqueue-1", "poolqueue", "redb", 30.0, false),
        result("enqueue-1", "poolqueue", "redb", 9_000.0, true),
        result("enqueue-1", "poolqueue", "redb", 20.0, false),
        result("enqueue-1", "raw-log", "file", 40.0, false),
        result("drain", "raw-log", "file", 50.0, false),
        result("enqueue-16", "raw-log", "file", 0.0, false),
    ];
    let place = Place::with(&[first.concat(), second.concat()]);
    let figures = place.figures();
    let expected = [
        ("poolqueue, redb".to_owned(), vec![(1.0, 20.0), (16.0, 300.0)]),
        ("poolqueue, sqlite".to_owned(), vec![(1.0, 7.0)]),
        ("raw-log".to_owned(), vec![(1.0, 40.0)]),
    ];
    assert_eq!(throughput_of(&figures), expected);
    let void = figures.void();
    assert_eq!(void.len(), 2);
    assert!(void[0].starts_with("enqueue-1 of fang on sqlite") && void[0].contains("0.json:4"), "{void:?}");
    assert!(void[1].contains("1.json:2"), "{void:?}");
}

#[test]
fn the_percentiles_are_of_the_shape_that_is_asked_for() {
    let results =
        [result("idle", "poolqueue", "redb", 3.0, false), result("loaded", "fang", "sqlite", 5.0, false)];
    let place = Place::with(&[results.concat()]);
    let figures = place.figures();
    let idle = figures.percentiles(Shape::Idle);
    assert_eq!(idle.len(), 1);
    assert_eq!((idle[0].contender.label.as_str(), idle[0].us), ("poolqueue", [3.0, 6.0, 24.0]));
}

#[test]
fn a_line_that_is_no_result_is_refused_by_file_and_number() {
    let sound = result("idle", "poolqueue", "redb", 3.0, false);
    let cut = sound.trim_end().trim_end_matches('}').to_owned();
    let strange = result("idel", "poolqueue", "redb", 3.0, false);
    for (bad, why) in
        [(cut.as_str(), "not a result"), ("{}", "shape"), ("", "not a result"), (&strange, "\"idel\"")]
    {
        let place = Place::with(&[sound.clone(), format!("{sound}{bad}\n{sound}")]);
        let Err(Failed::Usage(message)) = draw(&place.files, &place.charts()) else {
            panic!("{bad} is accepted")
        };
        assert!(message.contains("1.json:2: ") && message.contains(why), "{message}");
        assert!(!place.charts().exists());
    }
}

#[test]
fn only_charts_with_figures_are_written_and_the_others_are_named() {
    let results =
        [result("idle", "poolqueue", "redb", 3.0, false), result("idle", "fang", "sqlite", 5.0, true)];
    let place = Place::with(&[results.concat()]);
    let Ok(report) = draw(&place.files, &place.charts()) else { panic!("nothing is drawn") };
    for said in [
        "latency.svg\n",
        "throughput-by-callers.svg is not drawn",
        "claim-by-backlog.svg is not",
        "void: idle of fang",
    ] {
        assert!(report.contains(said), "{report}");
    }
    let written: Vec<_> =
        fs::read_dir(place.charts()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(written, ["latency.svg"]);

    let nothing = Place::with(&[result("drain", "poolqueue", "redb", 3.0, false), String::new()]);
    let Err(Failed::Check(report)) = draw(&nothing.files, &nothing.charts()) else {
        panic!("a chart of nothing")
    };
    assert_eq!(report.matches("is not drawn").count(), CHARTS.len());
}

/// Figures that are as near to each other, and as far apart, as those of many queues are.
fn crowd() -> String {
    let mut text = String::new();
    let shapes = ["enqueue-1", "enqueue-16", "enqueue-64", "enqueue-256", "idle", "loaded"];
    let backlogs = ["backlog-10000", "backlog-1000000", "backlog-10000000"];
    for (nth, shape) in shapes.into_iter().chain(backlogs).enumerate() {
        for (engine, far) in [("redb", 3.0), ("sqlite", 2.9)] {
            text += &result(shape, "poolqueue", engine, 1_000.0 * far * (nth + 1) as f64, false);
            text += &result(shape, "one-commit-per-op", engine, 900.0 * far, false);
        }
        for rival in 0..12 {
            let far = if rival % 4 == 0 { 50_000.0 } else { 1.01 };
            text += &result(shape, &format!("a-rival-with-a-name:{rival}"), "sqlite", 950.0 * far, false);
        }
    }
    text
}

#[test]
fn every_text_is_within_its_picture_and_no_two_overlap() {
    let alone = ["enqueue-10", "idle", "loaded", "backlog-10"];
    let alone = alone.map(|shape| result(shape, "<&>", "redb", 1e11, false)).concat();
    for (results, least) in [(crowd(), 16), (alone, 4)] {
        let figures = Place::with(&[results]).figures();
        for chart in &CHARTS {
            let svg = (chart.draw)(&figures).unwrap().unwrap();
            assert!(texts(&svg).len() > least, "{}", chart.name);
            assert_eq!(misplaced(&svg), [""; 0], "{}", chart.name);
        }
    }
}

#[test]
fn a_text_beyond_the_picture_or_on_another_is_noticed() {
    let text = |x, y| {
        format!(
            "<text x=\"{x}\" y=\"{y}\" dy=\"0.5ex\" text-anchor=\"start\" font-size=\"10\">\nfive5\n</text>\n"
        )
    };
    let picture = |texts: &[String]| format!("<svg width=\"100\" height=\"50\">\n{}</svg>", texts.concat());
    assert_eq!(misplaced(&picture(&[text(10, 10), text(10, 30), text(50, 10)])), [""; 0]);
    for texts in [[text(80, 10), text(10, 10)], [text(10, 48), text(10, 10)], [text(30, 15), text(10, 10)]] {
        assert_eq!(misplaced(&picture(&texts)).len(), 1);
    }
}

/// The texts of a picture that are not wholly in it, or that lie on one before them.
fn misplaced(svg: &str) -> Vec<String> {
    let all = Text { text: String::new(), x: 0.0..number(svg, "width"), y: 0.0..number(svg, "height") };
    let texts = texts(svg);
    let is_misplaced = |nth: usize, text: &Text| {
        !text.is_within(&all) || texts[..nth].iter().any(|other| text.overlaps(other))
    };
    let found = texts.iter().enumerate().filter(|(nth, text)| is_misplaced(*nth, text));
    found.map(|(_, text)| text.text.clone()).collect()
}

/// The box that a text takes, roughly.
struct Text {
    text: String,
    x: Range<f64>,
    y: Range<f64>,
}

impl Text {
    fn is_within(&self, all: &Text) -> bool {
        let within = |part: &Range<f64>, all: &Range<f64>| part.start >= all.start && part.end <= all.end;
        within(&self.x, &all.x) && within(&self.y, &all.y)
    }

    fn overlaps(&self, other: &Text) -> bool {
        let meet = |one: &Range<f64>, other: &Range<f64>| one.start < other.end && other.start < one.end;
        meet(&self.x, &other.x) && meet(&self.y, &other.y)
    }
}

fn texts(svg: &str) -> Vec<Text> {
    let tags = svg.split("<text ").skip(1).map(|rest| rest.split_once("</text>").unwrap().0);
    tags.map(|tag| {
        let (attributes, text) = tag.split_once('>').unwrap();
        let attributes = format!(" {attributes}");
        let text = text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let size = number(&attributes, "font-size");
        let (long, high) = (text.chars().count() as f64 * size * 0.58, size * 1.2);
        let before = match value(&attributes, "text-anchor") {
            "start" => 0.0,
            "middle" => 0.5,
            _ => 1.0,
        };
        let above = match value(&attributes, "dy") {
            "0.76em" => 0.0,
            "0.5ex" => 0.5,
            _ => 1.0,
        };
        let (x, y) = (number(&attributes, "x"), number(&attributes, "y"));
        let box_of = |from: f64, size: f64, before: f64| from - size * before..from + size * (1.0 - before);
        // What is turned stands upright, read from below.
        let (x, y) = match attributes.contains("rotate(270") {
            true => (box_of(x, high, above), box_of(y, long, 1.0 - before)),
            false => (box_of(x, long, before), box_of(y, high, above)),
        };
        Text { text, x, y }
    })
    .collect()
}

fn value<'a>(attributes: &'a str, name: &str) -> &'a str {
    let (_, rest) = attributes.split_once(&format!(" {name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

fn number(attributes: &str, name: &str) -> f64 {
    value(attributes, name).parse().unwrap()
}
