//! PromQL, as far as a test needs to understand it: which metrics an expression asks for, by which labels and values. All of them must be among
//! what the binaries export, what the rules record, or what Prometheus and the PodMonitor add.
use guardprobe::show::fleet_metrics::FLEET_METRICS;
use guardprobe::show::metrics::METRICS;
use guardprobe_core::model::address::Family;
use guardprobe_core::model::config::Expect;
use guardprobe_core::model::finding::{Attribution, Doubt, Verdict};
use guardprobe_core::model::fleet::{Exclusion, Excuse, Gap, STATES, Warning};
use guardprobe_core::model::notice::NoticeReason;
use guardprobe_core::model::observation::Outcome;
use guardprobe_core::model::report::Role;
use promql_parser::label::MatchOp;
use promql_parser::parser::{AggregateExpr, Expr, LabelModifier, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// Labels that Prometheus or the PodMonitor put on every series; `cluster` is for those who keep several.
const ADDED: [&str; 6] = ["cluster", "instance", "job", "namespace", "node", "pod"];

/// The labels of each metric that there is.
pub(crate) fn catalogue(recorded: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = recorded.clone();
    for metric in METRICS.iter().chain(&FLEET_METRICS) {
        let labels: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        if metric.name.ends_with("_duration_seconds") {
            let with_bound = labels.iter().cloned().chain(["le".to_owned()]).collect();
            all.insert(format!("{}_bucket", metric.name), with_bound);
        }
        all.insert(metric.name.to_owned(), labels);
    }
    let alerts = ["alertname", "alertstate", "severity", "guard", "target"].map(str::to_owned);
    all.insert("ALERTS".to_owned(), alerts.into());
    all
}

/// The words that a label may have, where they are counted; of a `reason` those of all its metrics.
fn words(label: &str) -> Option<Vec<&'static str>> {
    Some(match label {
        "verdict" => Verdict::ALL.map(Verdict::as_str).into(),
        "state" => STATES.into(),
        "attribution" => Attribution::ALL.map(Attribution::as_str).into(),
        "warning" => Warning::ALL.map(Warning::as_str).into(),
        "family" => Family::ALL.map(Family::as_str).into(),
        "outcome" => Outcome::ALL.map(Outcome::as_str).into(),
        "expect" => [Expect::MustReach, Expect::MustNotConnect].map(Expect::as_str).into(),
        "role" => [Role::Agent, Role::Witness].map(Role::as_str).into(),
        "reason" => {
            let doubts = Doubt::ALL.iter().map(|doubt| doubt.as_str());
            let coverage = Gap::ALL
                .map(Gap::as_str)
                .into_iter()
                .chain(Excuse::ALL.map(Excuse::as_str))
                .chain(Exclusion::ALL.map(Exclusion::as_str));
            doubts.chain(coverage).chain(NoticeReason::ALL.map(NoticeReason::as_str)).collect()
        }
        _ => return None,
    })
}

/// What is wrong with an expression, and the labels that its result may have.
pub(crate) struct Understood {
    pub(crate) wrong: Vec<String>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) metrics: BTreeSet<String>,
}

/// Reads an expression. Grafana's variables stand for what they would be.
pub(crate) fn understand(expression: &str, catalogue: &BTreeMap<String, BTreeSet<String>>) -> Understood {
    let text = concrete(expression);
    let mut found = Understood { wrong: Vec::new(), labels: BTreeSet::new(), metrics: BTreeSet::new() };
    match parse(&text) {
        Ok(parsed) => {
            let mut selectors = Selectors { catalogue, found: &mut found };
            let Ok(_) = walk_expr(&mut selectors, &parsed);
            let mut groups = Groups { found: &mut found };
            let Ok(_) = walk_expr(&mut groups, &parsed);
        }
        Err(error) => found.wrong.push(format!("{error}: {text}")),
    }
    found
}

/// An expression as Grafana sends it, for all guards of the last half hour.
pub(crate) fn concrete(expression: &str) -> String {
    let values = [
        ("$__rate_interval", "1m"),
        ("$__range_s", "1800"),
        ("$__range", "1800s"),
        ("$cluster", ".*"),
        ("$guard", ".+"),
        ("$node", "node-2"),
    ];
    values.iter().fold(expression.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

struct Selectors<'a> {
    catalogue: &'a BTreeMap<String, BTreeSet<String>>,
    found: &'a mut Understood,
}

impl Selectors<'_> {
    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.clone().unwrap_or_default();
        let Some(labels) = self.catalogue.get(&name) else {
            self.found.wrong.push(format!("there is no metric {name:?}"));
            return;
        };
        self.found.metrics.insert(name.clone());
        self.found.labels.extend(labels.iter().cloned().chain(ADDED.map(str::to_owned)));
        for matcher in &selector.matchers.matchers {
            if !labels.contains(&matcher.name) && !ADDED.contains(&matcher.name.as_str()) {
                self.found.wrong.push(format!("{name} has no label {:?}", matcher.name));
            }
            let Some(words) = words(&matcher.name) else { continue };
            let values = match &matcher.op {
                MatchOp::Equal | MatchOp::NotEqual => vec![matcher.value.as_str()],
                _ => matcher.value.split('|').collect(),
            };
            for value in values.iter().filter(|value| !words.contains(value)) {
                self.found.wrong.push(format!("{name} has no {} {value:?}: there are {words:?}", matcher.name));
            }
        }
    }
}

impl ExprVisitor for Selectors<'_> {
    type Error = Infallible;

    fn pre_visit(&mut self, part: &Expr) -> Result<bool, Infallible> {
        match part {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Call(call) if call.func.name == "label_replace" => {
                if let Expr::StringLiteral(label) = call.args.args[1].as_ref() {
                    self.found.labels.insert(label.val.clone());
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// Looks at `by`, `on` and the like, once it is known which labels there are.
struct Groups<'a> {
    found: &'a mut Understood,
}

impl ExprVisitor for Groups<'_> {
    type Error = Infallible;

    fn pre_visit(&mut self, part: &Expr) -> Result<bool, Infallible> {
        let modifier = match part {
            Expr::Aggregate(aggregate) => aggregate.modifier.as_ref(),
            Expr::Binary(binary) => binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()),
            _ => None,
        };
        for label in modifier.iter().flat_map(|modifier| &modifier.labels().labels) {
            if !self.found.labels.contains(label) {
                self.found.wrong.push(format!("groups by {label:?}, which none of its metrics has"));
            }
        }
        Ok(true)
    }
}

/// The labels that the series of an expression have: those by which its aggregations group, or all of its metrics' where it has none.
pub(crate) fn labels_of_result(expression: &str, catalogue: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    struct Outermost(BTreeSet<String>);
    impl ExprVisitor for Outermost {
        type Error = Infallible;
        fn pre_visit(&mut self, part: &Expr) -> Result<bool, Infallible> {
            match part {
                Expr::Aggregate(AggregateExpr { modifier: Some(LabelModifier::Include(labels)), .. }) => {
                    self.0.extend(labels.labels.iter().cloned())
                }
                Expr::Call(call) if call.func.name == "label_replace" => {
                    if let Expr::StringLiteral(label) = call.args.args[1].as_ref() {
                        self.0.insert(label.val.clone());
                    }
                }
                _ => {}
            }
            Ok(true)
        }
    }
    let mut outermost = Outermost(BTreeSet::new());
    let Ok(_) = walk_expr(&mut outermost, &parse(&concrete(expression)).unwrap());
    if outermost.0.is_empty() { understand(expression, catalogue).labels } else { outermost.0 }
}

#[test]
fn an_expression_about_what_there_is_not_is_found_out() {
    let catalogue = catalogue(&BTreeMap::new());
    let wrong = |expression: &str| understand(expression, &catalogue).wrong.join("; ");
    assert_eq!(wrong(r#"max by (guard, node) (guardprobe_verdict{verdict="breached",guard=~"$guard"}) > 0"#), "");
    for (expression, expected) in [
        ("guardprobe_verdicts", "no metric"),
        ("rate(guardprobe_probes[5m])", "no metric"),
        (r#"guardprobe_verdict{state="covered"}"#, "no label"),
        (r#"guardprobe_verdict{verdict="open"}"#, "no verdict"),
        (r#"guardprobe_fleet_nodes{state=~"covered|gone"}"#, "no state"),
        ("sum by (verdict) (guardprobe_fleet_nodes)", "groups by \"verdict\""),
        ("clamp_max(sum by (hash) (guardprobe_fleet_nodes), 1)", "groups by \"hash\""),
        ("topk(5, guardprobe_nothing)", "no metric"),
        ("max_over_time((guardprobe_nothing)[5m:15s])", "no metric"),
        ("guardprobe_fleet_nodes * on (le) guardprobe_fleet_nodes", "groups by \"le\""),
        ("sum(", "sum("),
    ] {
        let wrong = wrong(expression);
        assert!(wrong.contains(expected), "{expression}: {wrong:?}");
    }
}
