//! Answers that a service signed: what counts, and what never does.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use lictor_context::{Clock as _, Digest, ManualClock, Timestamp};
use lictor_governance::{
    AnswerText, AnswerVerdict, ApprovalError, ApprovalRequest, ApprovalState, Approvals, Approvers,
    Channel, MemoryApprovalStore, MemoryApproverStore, PolicyLayer, Says, SignedAnswer, Webhook,
    WriteGate,
};

use crate::common::{Ask, gate, layered, minutes, name};

struct House {
    _gate: WriteGate,
    clock: Arc<ManualClock>,
    approvals: Approvals,
    approvers: Approvers,
    key: SigningKey,
    webhook: Webhook,
    request: ApprovalRequest,
}

fn written(key: &SigningKey) -> String {
    format!("ed25519:{}", STANDARD.encode(key.verifying_key().to_bytes()))
}

fn policy(key: &SigningKey, more: &str) -> String {
    format!(
        "version: 1\npaths: {{protected: [\"**\"]}}\napprovals:\n  webhooks:\n    - {{ name: oncall, url: \"https://x.example/ask\", public_key: \"{}\"{more} }}\n",
        written(key)
    )
}

impl House {
    fn new(more: &str) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let (gate, clock) = gate(&policy(&key, more));
        let approvals = Approvals::new(&gate, Arc::new(MemoryApprovalStore::default()));
        let approvers = Approvers::new(Arc::new(MemoryApproverStore::default()), clock.clone());
        approvers.bootstrap(name("root"), Vec::new()).unwrap();
        let described = Ask::new("fs.write").write("a").describe();
        let decision = gate.decide(&described);
        let approval = approvals.request(&described, &decision, [Arc::from(&b"after"[..])]);
        let request = approvals.question(approval.unwrap().id()).unwrap();
        let webhook = gate.policies().settings().approvals.webhooks[0].clone();
        Self { _gate: gate, clock, approvals, approvers, key, webhook, request }
    }

    fn text(&self) -> AnswerText {
        let approval = self.request.approval();
        AnswerText {
            v: 1,
            webhook: "oncall".to_owned(),
            approval_id: approval.id().clone(),
            action_digest: approval.action_digest(),
            request_digest: self.request.digest(),
            nonce: approval.nonce().to_owned(),
            approver: name("root"),
            verdict: AnswerVerdict::Approve,
            reason: "fine".to_owned(),
            at: self.clock.now(),
        }
    }

    fn sign(&self, answer: AnswerText) -> SignedAnswer {
        let signature = self.key.sign(&answer.signed_bytes().unwrap()).to_bytes();
        SignedAnswer { answer, signature: STANDARD.encode(signature) }
    }

    fn holds(&self, signed: &SignedAnswer) -> bool {
        self.approvers.verify(signed, &self.webhook, &self.request).is_ok()
    }
}

#[test]
fn a_signed_answer_grants_once_and_a_replay_of_it_is_refused() {
    let house = House::new("");
    let signed = house.sign(house.text());
    let answered = house.approvers.verify(&signed, &house.webhook, &house.request).unwrap();
    assert_eq!((answered.channel, &answered.says), (Channel::Webhook, &Says::Approve));
    let id = house.request.approval().id();
    let granted = house.approvals.take(id, &answered).unwrap();
    assert_eq!(granted.state(), ApprovalState::Granted);
    assert_eq!(granted.granted_by()[0].channel, Channel::Webhook);
    assert!(matches!(house.approvals.take(id, &answered), Err(ApprovalError::Refused(_))));
    assert!(house.approvals.spend(granted.action_digest()).unwrap().is_some());
    assert!(matches!(house.approvals.question(id), Err(ApprovalError::Refused(_))));
}

#[test]
fn an_answer_with_any_part_changed_is_refused_signed_anew_or_not() {
    type Edit = fn(&mut AnswerText);
    let edits: [(&str, Edit); 9] = [
        ("version", |answer| answer.v = 2),
        ("webhook", |answer| answer.webhook = "other".to_owned()),
        ("approval", |answer| {
            answer.approval_id = lictor_context::ApprovalId::parse("apr_1").unwrap();
        }),
        ("action", |answer| answer.action_digest = Digest::of(b"x")),
        ("what was shown", |answer| answer.request_digest = Digest::of(b"x")),
        ("nonce", |answer| answer.nonce.push('x')),
        ("no nonce", |answer| answer.nonce.clear()),
        ("approver", |answer| answer.approver = name("eve")),
        ("time", |answer| answer.at = Timestamp::from_micros(0)),
    ];
    for (what, edit) in edits {
        let house = House::new("");
        let mut text = house.text();
        edit(&mut text);
        assert!(!house.holds(&house.sign(text.clone())), "{what}, signed anew");
        let signature = house.sign(house.text()).signature;
        assert!(!house.holds(&SignedAnswer { answer: text, signature }), "{what}");
    }
    // What may be either is still covered by the signature.
    let house = House::new("");
    let signed = house.sign(house.text());
    assert!(house.holds(&signed));
    for edit in [
        (|answer| answer.verdict = AnswerVerdict::Deny) as Edit,
        |answer| answer.reason.clear(),
        |answer| answer.at = answer.at.plus(Duration::from_secs(1)),
    ] {
        let mut changed = signed.clone();
        edit(&mut changed.answer);
        assert!(!house.holds(&changed));
    }
}

#[test]
fn a_signature_by_another_key_or_with_any_bit_flipped_is_refused() {
    let house = House::new("");
    let signed = house.sign(house.text());
    let bytes = STANDARD.decode(&signed.signature).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = SignedAnswer { signature: STANDARD.encode(flipped), ..signed.clone() };
        assert!(!house.holds(&flipped), "bit {bit}");
    }
    let thief = SigningKey::from_bytes(&[8; 32]);
    let forged = thief.sign(&signed.answer.signed_bytes().unwrap()).to_bytes();
    for signature in
        [STANDARD.encode(forged), String::new(), "!".to_owned(), STANDARD.encode([0; 64])]
    {
        assert!(!house.holds(&SignedAnswer { signature, ..signed.clone() }));
    }
}

#[test]
fn an_answer_that_comes_late_or_from_the_future_is_refused() {
    let house = House::new("");
    let mut text = house.text();
    text.at = house.clock.now().plus(minutes(2));
    assert!(!house.holds(&house.sign(text)), "from the future");
    let signed = house.sign(house.text());
    let answered = house.approvers.verify(&signed, &house.webhook, &house.request).unwrap();
    house.clock.advance(minutes(10));
    let id = house.request.approval().id();
    assert!(matches!(house.approvals.take(id, &answered), Err(ApprovalError::Refused(_))));
    assert!(house.approvals.spend(house.request.approval().action_digest()).unwrap().is_none());
}

#[test]
fn a_webhook_speaks_for_approvers_that_it_is_named_for_and_no_others() {
    let house = House::new(", approvers: [ann]");
    assert!(!house.holds(&house.sign(house.text())), "root is not named");
    let mut text = house.text();
    text.approver = name("ann");
    assert!(!house.holds(&house.sign(text)), "ann is no approver");
}

#[test]
fn a_lower_layer_adds_no_webhook() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let of = |layers: &[(PolicyLayer, &str)]| layered(layers).settings().approvals.webhooks.len();
    let text = policy(&key, "");
    assert_eq!(of(&[(PolicyLayer::Workspace, &text)]), 1);
    assert_eq!(of(&[(PolicyLayer::User, "version: 1\n"), (PolicyLayer::Workspace, &text)]), 0);
    assert_eq!(of(&[(PolicyLayer::User, &text), (PolicyLayer::Workspace, "version: 1\n")]), 1);
}

#[test]
fn a_webhook_that_is_written_wrongly_is_refused() {
    let key = written(&SigningKey::from_bytes(&[7; 32]));
    let good = format!("{{ name: a, url: \"https://x.example/\", public_key: \"{key}\" }}");
    let read = |webhooks: &str| {
        let text = format!("version: 1\napprovals:\n  webhooks:\n{webhooks}");
        let source = lictor_document::Source::new("policy.yaml", text.as_bytes());
        lictor_governance::PolicySet::workspace(&source).is_ok()
    };
    let one = |text: &str| read(&format!("    - {text}\n"));
    assert!(one(&good));
    for (from, to) in [
        ("https://", "http://"),
        ("https://x.example/", "http://localhost.evil.example/"),
        ("https://x.example/", "http://localhost@evil.example/"),
        ("https://x.example/", "http://127.0.0.1:80@evil.example/"),
        ("name: a", "name: \"a b\""),
        ("ed25519:", "ed25519:AAAA"),
        ("ed25519:", ""),
        (" }", ", timeout: 1h }"),
        (" }", ", attempts: 0 }"),
        (" }", ", attempts: 100 }"),
        (" }", ", token: x }"),
    ] {
        assert!(!one(&good.replace(from, to)), "{to}");
    }
    assert!(one(&good.replace("https://x.example", "http://localhost:80")));
    assert!(!read(&format!("    - {good}\n    - {good}\n")), "one name twice");
}
