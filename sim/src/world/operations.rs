//! What users do.

use broker_proto::store::entity::EntityId;

use crate::model::{Operation, Verdict};
use crate::user::{self, Encoded};
use crate::world::{State, World};

impl World {
    /// A user of some node that is up does something.
    pub(super) fn operate(&mut self) {
        let index = self.random.below(self.nodes.len() as u64) as usize;
        let node = &self.nodes[index];
        if matches!(node.state, State::Down) || node.suspended_ms > self.now_ms {
            return;
        }
        self.operations += 1;
        let number = self.operations;
        let operation = user::invent(&mut self.random, number, self.plan.clears);
        let (calls, call_fails) = (
            self.random.below(2),
            self.random.permille(self.plan.call_failure),
        );
        let now = self.now();
        self.trace(|_| format!("user of {index}: {number} {operation:?}"));
        let node = &mut self.nodes[index];
        node.requests += 1;
        let (request, life) = (node.requests, node.life);
        let who = EntityId {
            endpoint: node.endpoint,
            object: 1_000,
        };
        self.ledger.make(number, life, operation.clone());
        if let Operation::PutUnique(..) = operation {
            self.ledger.expect_answer(who, request, number);
        }
        let encoded = Encoded::new(&operation);
        let result = match &mut node.state {
            State::Down => return,
            State::Master(master) => {
                if call_fails {
                    node.disk.fail_call(Some(calls));
                }
                let content = encoded.content(master.id(), who, request);
                let (id, writable) = (master.id(), master.is_writable());
                let result = master.request(now, &content);
                let verdict = self.ledger.apply(id, now, &operation, writable);
                if !node.disk.call_fails() {
                    let expected = match verdict {
                        Verdict::Done => Some(true),
                        Verdict::Present => Some(false),
                        Verdict::Refused => None,
                    };
                    assert_eq!(result.as_ref().ok(), expected.as_ref(), "{operation:?}");
                }
                self.ledger.report(life, u64::from(result.is_err()));
                self.note_retired(index);
                self.end_group(index);
                Ok(())
            }
            State::Clone(clone) => {
                let content = encoded.content(clone.id(), who, request);
                clone.request(&content)
            }
        };
        if let Err(failure) = result {
            self.trace(|_| format!("user of {index} is refused: {failure}"));
            if failure.text.contains("wait for the master already") {
                self.ledger.marks.hit("request without room");
            }
            self.ledger.unmake(number);
        }
        self.drain(index);
    }
}
