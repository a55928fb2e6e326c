//! One dashboard's channel as one node hears it: who else is on it, parts that become envelopes, and what its room is told.

use super::{Assembled, Assembly, AssemblyBudget, BusFrame, Heard, Peers};
use crate::id::NodeId;
use crate::time::Timestamp;

/// A dashboard that is open on this node. Not connected at first. What its room is to hear goes into a list, in its order.
#[derive(Debug, Default)]
pub struct Channel {
    peers: Peers,
    assembly: Assembly,
    /// Whoever subscribed did not wait for the confirmation, or what came before it was not heard.
    has_missed: bool,
}

/// What is to be said because something was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// That this node is here.
    pub here: bool,
    /// That the node was taken for gone.
    pub forgotten: bool,
}

impl Channel {
    /// Who else has the dashboard open.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Takes what another node says. `None`: it is nothing that belongs on a dashboard's channel.
    pub fn hear(
        &mut self,
        own: NodeId,
        from: NodeId,
        frame: BusFrame,
        budget: &AssemblyBudget,
        heard: &mut Vec<Heard>,
    ) -> Option<Reply> {
        match frame {
            BusFrame::Heartbeat(_) => return None,
            BusFrame::Bye => {
                self.left(from, heard);
                return Some(Reply::default());
            }
            _ => {}
        }
        let met = self.peers.met(from);
        let is_hello = frame == BusFrame::Hello;
        match frame {
            BusFrame::Envelope(envelope) => heard.push(Heard::Envelope(envelope)),
            BusFrame::Part(part) => match self.assembly.take(from, &part, budget) {
                Assembled::Waiting => {}
                Assembled::Whole(envelope) => heard.push(Heard::Envelope(envelope)),
                Assembled::Lost => heard.push(Heard::Lost),
            },
            BusFrame::Forgotten(target) if target == own => heard.push(Heard::Forgotten),
            _ => {}
        }
        Some(Reply { here: is_hello, forgotten: met.was_dropped })
    }

    /// It is heard from here on, and `listeners` others heard the hello, if that is known. Says until when that leaves a doubt about who is
    /// here.
    pub fn subscribed(
        &mut self,
        now: Timestamp,
        listeners: Option<usize>,
        heard: &mut Vec<Heard>,
    ) -> Option<Timestamp> {
        self.peers.subscribed(now, listeners);
        if core::mem::take(&mut self.has_missed) {
            heard.push(Heard::Lost);
        }
        self.peers.settles_at()
    }

    /// Its subscriber does not wait for the confirmation any longer.
    pub fn is_not_awaited(&mut self) {
        if !self.peers.is_connected() {
            self.has_missed = true;
            self.peers.disconnected();
        }
    }

    /// Nothing is heard until it is subscribed again.
    pub fn disconnected(&mut self) {
        self.has_missed |= self.peers.is_connected();
        self.peers.disconnected();
        self.assembly.clear();
    }

    /// This node was away for a while, which others may have noticed: a hello is about to be said once more.
    pub fn was_away(&mut self, heard: &mut Vec<Heard>) {
        self.peers.ask_again();
        heard.push(Heard::Lost);
    }

    /// A node is gone without its word.
    pub fn gone(&mut self, node: NodeId, heard: &mut Vec<Heard>) {
        self.assembly.forget(node);
        if self.peers.gone(node) {
            heard.push(Heard::Gone(node));
        }
    }

    /// A node has closed the dashboard, or left the bus altogether.
    pub fn left(&mut self, node: NodeId, heard: &mut Vec<Heard>) {
        self.assembly.forget(node);
        if self.peers.left(node) {
            heard.push(Heard::Gone(node));
        }
    }

    /// Ends a doubt that has lasted long enough.
    pub fn settle(&mut self, now: Timestamp, heard: &mut Vec<Heard>) {
        for node in self.peers.settle(now) {
            self.assembly.forget(node);
            heard.push(Heard::Gone(node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ANSWER_WITHIN;
    use super::*;
    use crate::limits::bus::BODY_BYTES_MAX;
    use bytes::Bytes;

    const OWN: NodeId = NodeId(1);
    const ANN: NodeId = NodeId(2);
    const BEN: NodeId = NodeId(3);
    const NOW: Timestamp = Timestamp(1_000);

    /// A channel whose room hears what is returned.
    struct Ear {
        channel: Channel,
        budget: AssemblyBudget,
    }

    impl Ear {
        fn subscribed(listeners: usize) -> Ear {
            let mut ear = Ear { channel: Channel::default(), budget: AssemblyBudget::default() };
            assert_eq!(ear.told(|channel, heard| _ = channel.subscribed(NOW, Some(listeners), heard)), []);
            ear
        }

        fn hear(&mut self, from: NodeId, frame: BusFrame) -> (Option<Reply>, Vec<Heard>) {
            let mut heard = Vec::new();
            (self.channel.hear(OWN, from, frame, &self.budget, &mut heard), heard)
        }

        fn told(&mut self, what: impl FnOnce(&mut Channel, &mut Vec<Heard>)) -> Vec<Heard> {
            let mut heard = Vec::new();
            what(&mut self.channel, &mut heard);
            heard
        }
    }

    #[test]
    fn a_hello_is_answered_and_a_bye_is_heard_once() {
        let mut ear = Ear::subscribed(0);
        let here = Reply { here: true, forgotten: false };
        assert_eq!(ear.hear(ANN, BusFrame::Hello), (Some(here), vec![]));
        assert!(ear.channel.peers().has_others());
        assert_eq!(ear.hear(ANN, BusFrame::Bye), (Some(Reply::default()), vec![Heard::Gone(ANN)]));
        assert_eq!(ear.hear(ANN, BusFrame::Bye), (Some(Reply::default()), vec![]));
        assert!(!ear.channel.peers().has_others());
        assert_eq!(ear.hear(ANN, BusFrame::Heartbeat(Bytes::new())), (None, vec![]));
    }

    #[test]
    fn what_goes_in_parts_is_heard_whole_and_not_at_all_across_a_disconnect() {
        let mut ear = Ear::subscribed(0);
        let envelope = Bytes::from(vec![7; BODY_BYTES_MAX + 1]);
        let parts = BusFrame::carry(envelope.clone(), 1);
        assert_eq!(ear.hear(ANN, parts[0].clone()).1, []);
        assert_eq!(ear.hear(ANN, parts[1].clone()).1, [Heard::Envelope(envelope)]);
        ear.hear(ANN, parts[0].clone());
        ear.channel.disconnected();
        assert_eq!(ear.told(|channel, heard| _ = channel.subscribed(NOW, Some(0), heard)), [Heard::Lost]);
        assert_eq!(ear.hear(ANN, parts[1].clone()).1, [Heard::Lost]);
    }

    #[test]
    fn one_that_was_taken_for_gone_is_told_when_it_speaks_and_hears_it_as_the_one_that_is_meant() {
        let mut ear = Ear::subscribed(0);
        ear.hear(ANN, BusFrame::Here);
        assert_eq!(ear.told(|channel, heard| channel.gone(ANN, heard)), [Heard::Gone(ANN)]);
        assert_eq!(ear.told(|channel, heard| channel.gone(ANN, heard)), []);
        let forgotten = Reply { here: false, forgotten: true };
        assert_eq!(ear.hear(ANN, BusFrame::Envelope(Bytes::new())).0, Some(forgotten));
        assert_eq!(ear.hear(ANN, BusFrame::Forgotten(BEN)).1, []);
        assert_eq!(ear.hear(ANN, BusFrame::Forgotten(OWN)).1, [Heard::Forgotten]);
    }

    #[test]
    fn those_who_do_not_come_back_after_a_disconnect_are_gone_when_the_doubt_ends() {
        let mut ear = Ear::subscribed(0);
        ear.hear(ANN, BusFrame::Here);
        ear.hear(BEN, BusFrame::Here);
        ear.channel.disconnected();
        let mut heard = Vec::new();
        let until = ear.channel.subscribed(NOW, Some(2), &mut heard).expect("a doubt");
        assert_eq!((until, heard), (NOW + ANSWER_WITHIN, vec![Heard::Lost]));
        ear.hear(ANN, BusFrame::Here);
        assert_eq!(ear.told(|channel, heard| channel.settle(until, heard)), [Heard::Gone(BEN)]);
        assert_eq!(ear.told(|channel, heard| channel.was_away(heard)), [Heard::Lost]);
    }

    #[test]
    fn whoever_did_not_wait_for_the_subscription_has_missed_something() {
        let mut ear = Ear { channel: Channel::default(), budget: AssemblyBudget::default() };
        ear.channel.is_not_awaited();
        assert_eq!(ear.told(|channel, heard| _ = channel.subscribed(NOW, Some(0), heard)), [Heard::Lost]);
        ear.channel.is_not_awaited();
        assert_eq!(ear.told(|channel, heard| _ = channel.subscribed(NOW, Some(0), heard)), []);
    }
}
