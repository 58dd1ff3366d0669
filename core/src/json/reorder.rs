//! Objects that were written in the order they were read, put into JavaScript's order afterwards.
//!
//! Most objects need nothing. For the others only the places of their members are noted while reading; one pass at the end
//! copies each surviving member once, however deep the objects nest, so the cost stays in proportion to the text.

use std::ops::Range;

/// An object whose members do not stand in property order. All places are offsets in the written text.
pub(super) struct Disordered {
    /// From its opening brace to after its closing one.
    pub(super) object: Range<usize>,
    /// Each surviving member, key and value, in property order.
    pub(super) members: Vec<Range<usize>>,
}

/// Writes everything in `out` after `start` again, with every disordered object put in order.
pub(super) fn put_in_order(out: &mut Vec<u8>, start: usize, mut disordered: Vec<Disordered>) {
    if disordered.is_empty() {
        return;
    }
    disordered.sort_unstable_by_key(|one| one.object.start);
    // Written once more behind what is there, so that whoever has made room in `out` has made it for this, too.
    let end = out.len();
    let mut steps = vec![Step::Copy(start..end)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Byte(byte) => out.push(byte),
            Step::Copy(range) => match first_within(&disordered, &range) {
                None => out.extend_from_within(range),
                Some(one) => {
                    out.extend_from_within(range.start..one.object.start);
                    steps.push(Step::Copy(one.object.end..range.end));
                    push_steps(&mut steps, one);
                }
            },
        }
    }
    out.drain(start..end);
}

/// A piece that is still to be written. The last of the steps is written first.
enum Step {
    Byte(u8),
    Copy(Range<usize>),
}

fn first_within<'d>(disordered: &'d [Disordered], range: &Range<usize>) -> Option<&'d Disordered> {
    let at = disordered.partition_point(|one| one.object.start < range.start);
    disordered.get(at).filter(|one| one.object.start < range.end)
}

fn push_steps(steps: &mut Vec<Step>, one: &Disordered) {
    steps.push(Step::Byte(b'}'));
    for (at, member) in one.members.iter().enumerate().rev() {
        steps.push(Step::Copy(member.clone()));
        steps.push(Step::Byte(if at == 0 { b'{' } else { b',' }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_disordered_objects_is_left_alone() {
        let mut out = b"{}".to_vec();
        put_in_order(&mut out, 0, Vec::new());
        assert_eq!(out, b"{}");
    }

    #[test]
    fn members_move_with_the_disordered_objects_inside_them() {
        let mut out = br#">[{"b":{"d":4,"1":0},"0":5}]"#.to_vec();
        let inner = Disordered { object: 7..20, members: vec![14..19, 8..13] };
        let outer = Disordered { object: 2..27, members: vec![21..26, 3..20] };
        put_in_order(&mut out, 1, vec![inner, outer]);
        assert_eq!(String::from_utf8_lossy(&out), r#">[{"0":5,"b":{"1":0,"d":4}}]"#);
    }
}
