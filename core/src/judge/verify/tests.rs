use super::*;

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn target(verdict: Verdict, reason: &str) -> ToldTarget {
    ToldTarget {
        name: "imds".into(),
        verdict,
        reason: reason.into(),
        since: None,
        held: false,
        open: None,
        missing_addresses: vec![],
    }
}

/// A covered row whose round of two seconds ended that long ago.
fn row(node: &str, age: f64, targets: Vec<ToldTarget>) -> ToldRow {
    ToldRow {
        spot: Spot { guard: "d/g".into(), node: node.into() },
        coverage: ToldCoverage::Covered,
        reason: None,
        trouble: None,
        pod: None,
        report: Some(("b".into(), 1)),
        age: Some(s(age)),
        took: Some(s(2.0)),
        uncovered_since: None,
        targets,
    }
}

fn blocked(node: &str, age: f64) -> ToldRow {
    row(node, age, vec![target(Verdict::Blocked, "silence")])
}

fn with(coverage: ToldCoverage, row: ToldRow) -> ToldRow {
    ToldRow { coverage, ..row }
}

/// Asked ten seconds after our own beginning.
fn question(first: Vec<ToldRow>) -> Question {
    Question::new(Scope::default(), None, s(10.0), first)
}

fn standings(question: &Question) -> Vec<String> {
    let outcome = question.outcome();
    let of = |place: &Verified| {
        let verdict = outcome.standing(place).map_or("-", Verdict::as_str);
        format!("{} {:?} {verdict}", place.spot.node, place.answered).to_lowercase()
    };
    outcome.places.iter().map(of).collect()
}

#[test]
fn a_round_that_began_before_the_question_never_answers_it() {
    let mut question = question(vec![blocked("n1", 3.0)]);
    question.hear(s(11.0), vec![blocked("n1", 4.0)]);
    assert_eq!(standings(&question), ["n1 late inconclusive"]);
    // Looked at however late, the same round is as much older.
    question.hear(s(50.0), vec![blocked("n1", 43.0)]);
    assert_eq!(question.progress(), Progress { expected: 1, ..Progress::default() });
    // It ended after the question, and began before it, or so shortly after that who knows.
    question.hear(s(20.0), vec![blocked("n1", 9.0)]);
    question.hear(s(20.0), vec![blocked("n1", 7.5)]);
    question.hear(s(20.0), vec![blocked("n1", 7.0)]); // to the moment
    assert_eq!(standings(&question), ["n1 late inconclusive"]);
    let outcome = question.outcome();
    let place = &outcome.places[0];
    let target = &place.row.targets[0];
    assert_eq!(outcome.of_target(place, target), (Verdict::Inconclusive, "late"));
    question.hear(s(30.0), vec![blocked("n1", 3.0)]);
    assert_eq!(standings(&question), ["n1 fresh blocked"]);
    assert_eq!(question.outcome().exit_status(), 0);
    // What has answered has answered.
    question.hear(s(60.0), vec![blocked("n1", 58.0)]);
    assert_eq!(standings(&question), ["n1 fresh blocked"]);
}

#[test]
fn a_process_that_has_just_begun_has_no_round_to_show() {
    let mut question = question(vec![blocked("n1", 3.0)]);
    question
        .hear(s(20.0), vec![ToldRow { took: Some(s(0.0)), ..row("n1", 1.0, vec![target(Verdict::Inconclusive, "starting")]) }]);
    assert_eq!(question.waiting().count(), 1);
    question.hear(s(20.0), vec![row("n1", 1.0, vec![])]);
    question.hear(s(20.0), vec![ToldRow { age: None, ..blocked("n1", 1.0) }]);
    question.hear(s(20.0), vec![with(ToldCoverage::Uncovered, blocked("n1", 1.0))]);
    assert_eq!(standings(&question), ["n1 late inconclusive"]);
    assert_eq!(question.outcome().exit_status(), 3);
}

#[test]
fn an_answer_that_proves_nothing_is_waited_on_until_another_takes_its_place() {
    let mut question = question(vec![blocked("n1", 3.0), blocked("n2", 3.0)]);
    let stale = |age| row("n2", age, vec![target(Verdict::Inconclusive, "stale_addresses")]);
    question.hear(s(20.0), vec![blocked("n1", 1.0), stale(1.0)]);
    assert_eq!(question.progress(), Progress { expected: 2, answered: 2, settled: 1 });
    let waiting = |question: &Question| -> Vec<String> {
        question.waiting().map(|(spot, doubt)| format!("{} {}", spot.node, doubt.unwrap_or("-"))).collect()
    };
    assert_eq!(waiting(&question), ["n2 stale_addresses"]);
    // Who has not answered has no reason of his own.
    let mut late = self::question(vec![stale(3.0), blocked("n3", 3.0)]);
    late.hear(s(11.0), vec![stale(4.0), blocked("n3", 4.0)]);
    assert_eq!(waiting(&late), ["n2 -", "n3 -"]);
    assert!(question.outcome().exit_status() == 3 && !question.is_breached());
    question.hear(s(30.0), vec![blocked("n1", 1.0), blocked("n2", 1.0)]);
    assert_eq!(question.progress(), Progress { expected: 2, answered: 2, settled: 2 });
    assert_eq!(question.outcome().exit_status(), 0);
    // What is open is an answer.
    question.hear(s(40.0), vec![blocked("n1", 1.0), row("n2", 1.0, vec![target(Verdict::Breached, "answered")])]);
    assert_eq!((question.progress().settled, question.outcome().exit_status()), (2, 1));
    assert!(question.is_breached());
}

#[test]
fn who_vanishes_is_listed_and_who_is_new_is_not_judged() {
    let first = vec![
        blocked("n1", 1.0),
        blocked("n2", 1.0),
        with(ToldCoverage::Grace, row("n3", 1.0, vec![])),
        with(ToldCoverage::Excluded, row("n4", 1.0, vec![])),
    ];
    let mut question = question(first);
    let open = || vec![target(Verdict::Breached, "answered")];
    let fargate = with(ToldCoverage::Excluded, row("n6", 1.0, vec![]));
    question.hear(s(30.0), vec![blocked("n1", 1.0), blocked("n3", 1.0), blocked("n5", 1.0), fargate]);
    assert_eq!(question.progress(), Progress { expected: 1, answered: 1, settled: 1 });
    assert_eq!(standings(&question), ["n1 fresh blocked", "n2 gone -", "n3 new -", "n5 new -"]);
    let outcome = question.outcome();
    assert_eq!((outcome.exit_status(), outcome.excluded), (0, 1));
    // What is open is open, whoever it is.
    let mut with_news = question.clone();
    with_news.hear(s(35.0), vec![blocked("n1", 1.0), row("n3", 1.0, open())]);
    assert_eq!(with_news.outcome().exit_status(), 1);
    // It was away for a moment.
    question.hear(s(40.0), vec![blocked("n1", 1.0), blocked("n2", 20.0)]);
    assert_eq!(standings(&question), ["n1 fresh blocked", "n2 fresh blocked"].map(str::to_owned));
}

#[test]
fn the_worst_stands_first_and_decides() {
    let names = ["n1", "n2", "n3", "n4"];
    let mut question = question(names.map(|name| blocked(name, 1.0)).into());
    let rows = vec![
        blocked("n1", 1.0),
        row("n2", 1.0, vec![target(Verdict::Blocked, "rejected"), target(Verdict::Breached, "token_issued")]),
        with(ToldCoverage::Uncovered, row("n3", 1.0, vec![])),
        row("n4", 1.0, vec![target(Verdict::Inconclusive, "control_failed")]),
    ];
    question.hear(s(30.0), rows);
    assert_eq!(standings(&question), ["n2 fresh breached", "n3 late inconclusive", "n4 fresh inconclusive", "n1 fresh blocked"]);
    assert_eq!(question.outcome().exit_status(), 1);
}

#[test]
fn an_incident_that_is_open_is_a_breach_also_where_nobody_answers() {
    let mut question = question(vec![blocked("n1", 1.0)]);
    question.hear(s(30.0), vec![with(ToldCoverage::Uncovered, row("n1", 300.0, vec![target(Verdict::Breached, "answered")]))]);
    assert_eq!(standings(&question), ["n1 late breached"]);
    assert_eq!(question.outcome().exit_status(), 1);
}

#[test]
fn less_proof_than_asked_for_is_not_proved() {
    let first = vec![blocked("n1", 1.0)];
    let mut question = Question::new(Scope::default(), Some(Attribution::Rejected), s(10.0), first);
    question.hear(s(30.0), vec![blocked("n1", 1.0)]);
    assert_eq!(standings(&question), ["n1 fresh inconclusive"]);
    question.hear(s(30.0), vec![row("n1", 1.0, vec![target(Verdict::Blocked, "witnessed")])]);
    assert_eq!(standings(&question), ["n1 fresh blocked"]);
    question.hear(s(30.0), vec![row("n1", 1.0, vec![target(Verdict::Blocked, "surely")])]);
    assert_eq!(standings(&question), ["n1 fresh inconclusive"], "a word that is not known proves nothing");
}

#[test]
fn nobody_is_not_everybody_blocked() {
    assert_eq!(question(vec![]).outcome().exit_status(), 3);
    let mut gone = question(vec![blocked("n1", 1.0)]);
    gone.hear(s(30.0), vec![]);
    assert_eq!((gone.progress().expected, gone.outcome().exit_status()), (0, 3));
}

#[test]
fn only_what_is_asked_about_counts() {
    let scope = Scope { guards: ["d/g".to_owned()].into(), nodes: ["n2".to_owned()].into() };
    let mut question = Question::new(scope, None, s(10.0), vec![blocked("n1", 1.0), blocked("n2", 1.0)]);
    let other = ToldRow { spot: Spot { guard: "d/other".into(), node: "n2".into() }, ..blocked("n2", 1.0) };
    question.hear(s(30.0), vec![row("n1", 1.0, vec![target(Verdict::Breached, "answered")]), blocked("n2", 1.0), other]);
    assert_eq!(standings(&question), ["n2 fresh blocked"]);
}

#[test]
fn what_a_starting_reporter_excuses_owes_an_answer_all_the_same() {
    let starting = ToldRow { reason: Some("reporter_starting".into()), ..with(ToldCoverage::Grace, row("n2", 1.0, vec![])) };
    let mut question = question(vec![blocked("n1", 1.0), starting.clone()]);
    question.hear(s(30.0), vec![blocked("n1", 1.0), starting]);
    assert_eq!(standings(&question), ["n2 late inconclusive", "n1 fresh blocked"]);
    assert_eq!(question.outcome().exit_status(), 3);
}

#[test]
fn a_reporter_that_takes_over_and_knows_less_takes_nothing_back() {
    let mut question = question(vec![blocked("n1", 1.0)]);
    question.hear(s(30.0), vec![row("n1", 1.0, vec![target(Verdict::Breached, "answered")])]);
    question.hear(s(31.0), vec![blocked("n1", 60.0)]);
    assert_eq!(standings(&question), ["n1 fresh breached"]);
    // Another answer does.
    question.hear(s(60.0), vec![blocked("n1", 1.0)]);
    assert_eq!(standings(&question), ["n1 fresh blocked"]);
}

#[test]
fn a_guard_or_a_named_node_of_which_nobody_owes_an_answer_is_named() {
    let elsewhere =
        with(ToldCoverage::Excluded, ToldRow { spot: Spot { guard: "d/h".into(), node: "n1".into() }, ..row("n1", 1.0, vec![]) });
    let scope = Scope { nodes: ["n1".to_owned(), "n2".to_owned()].into(), ..Scope::default() };
    let first = vec![blocked("n1", 1.0), elsewhere, with(ToldCoverage::Grace, row("n2", 1.0, vec![]))];
    let question = Question::new(scope, None, s(10.0), first);
    assert_eq!(question.nobody(), ["guard d/h", "node n2"]);
}

fn open(node: &str, age: f64) -> ToldRow {
    row(node, age, vec![target(Verdict::Breached, "answered")])
}

#[test]
fn a_guard_or_a_named_node_of_which_nobody_is_left_is_not_proved() {
    let of = |guard: &str, node: &str, age: f64| ToldRow {
        spot: Spot { guard: guard.into(), node: node.into() },
        ..blocked(node, age)
    };
    let mut guards = question(vec![of("d/g", "n1", 3.0), of("d/h", "n1", 3.0)]);
    guards.hear(s(30.0), vec![of("d/g", "n1", 1.0)]);
    let outcome = guards.outcome();
    assert_eq!((outcome.exit_status(), outcome.nobody), (3, vec!["guard d/h".to_owned()]));
    let scope = Scope { nodes: ["n1", "n2"].map(str::to_owned).into(), ..Scope::default() };
    let mut nodes = Question::new(scope, None, s(10.0), vec![blocked("n1", 3.0), blocked("n2", 3.0)]);
    nodes.hear(s(30.0), vec![blocked("n1", 1.0)]);
    assert_eq!((nodes.outcome().exit_status(), nodes.outcome().nobody), (3, vec!["node n2".to_owned()]));
}

#[test]
fn what_was_seen_open_stays_so_until_a_round_says_otherwise() {
    // Where no agent can be, on a node that came later and went, and on one that nobody knows any more.
    let mut excluded = question(vec![blocked("n1", 3.0), with(ToldCoverage::Excluded, row("n2", 1.0, vec![]))]);
    excluded.hear(s(30.0), vec![blocked("n1", 1.0), with(ToldCoverage::Excluded, open("n2", 1.0))]);
    assert_eq!(excluded.outcome().exit_status(), 1);
    let mut came = question(vec![blocked("n1", 3.0)]);
    came.hear(s(20.0), vec![blocked("n1", 1.0), open("n2", 1.0)]);
    came.hear(s(30.0), vec![blocked("n1", 1.0)]);
    assert_eq!(came.outcome().exit_status(), 1);
    let mut unknown = question(vec![open("n1", 3.0)]);
    unknown.hear(s(30.0), vec![with(ToldCoverage::Uncovered, row("n1", 1.0, vec![]))]);
    assert_eq!(standings(&unknown), ["n1 late breached"]);
    unknown.hear(s(40.0), vec![blocked("n1", 1.0)]);
    assert_eq!(standings(&unknown), ["n1 fresh blocked"]);
}

#[test]
fn of_two_things_that_are_said_of_one_place_the_worse_counts() {
    let pairs = [
        (open("n1", 1.0), 1),
        (with(ToldCoverage::Uncovered, row("n1", 1.0, vec![])), 3),
        (blocked("n1", 29.0), 3),
        (row("n1", 1.0, vec![target(Verdict::Inconclusive, "refused")]), 3),
    ];
    for (worse, status) in pairs {
        for rows in [vec![worse.clone(), blocked("n1", 1.0)], vec![blocked("n1", 1.0), worse.clone()]] {
            let mut question = question(vec![blocked("n1", 3.0)]);
            question.hear(s(30.0), rows);
            assert_eq!(question.outcome().exit_status(), status, "{worse:?}");
        }
    }
}

#[test]
fn an_answer_speaks_of_every_target_that_was_asked_about() {
    let two = |age| {
        let api = ToldTarget { name: "kube-api".into(), ..target(Verdict::Blocked, "silence") };
        row("n1", age, vec![target(Verdict::Blocked, "silence"), api])
    };
    let mut question = question(vec![two(3.0)]);
    question.hear(s(30.0), vec![blocked("n1", 1.0)]);
    assert_eq!(standings(&question), ["n1 late inconclusive"]);
    question.hear(s(40.0), vec![two(1.0)]);
    assert_eq!(standings(&question), ["n1 fresh blocked"]);
}

#[test]
fn a_proof_that_is_held_from_an_earlier_round_answers_no_question() {
    let held = ToldTarget { held: true, ..target(Verdict::Blocked, "silence") };
    assert_eq!(of_target(Answered::Fresh, &held, None), (Verdict::Inconclusive, "unproved"));
    assert_eq!(of_target(Answered::Fresh, &target(Verdict::Blocked, "silence"), None), (Verdict::Blocked, "silence"));
}
