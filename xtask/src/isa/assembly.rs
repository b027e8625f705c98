//! What can be read from AMD's machine code as text.

/// Instructions of a shader, counted.
#[derive(Debug, PartialEq)]
pub struct Counts {
    /// Arithmetic on two halves at once.
    pub packed: usize,
    /// Multiply-adds in a hundred vector instructions of the innermost loop that has most of them; none if none has any.
    pub share: Option<usize>,
}

impl Counts {
    /// Counts `code`: one instruction a line, labels `BB7:`, what stands behind `;` is the encoding.
    pub fn of(code: &str) -> Self {
        let lines: Vec<&str> = code.lines().map(|l| l.split(';').next().unwrap_or("").trim()).collect();
        let packed = lines.iter().copied().flat_map(vector).filter(|name| name.starts_with("v_pk_")).count();
        let work = innermost(&lines).into_iter().map(|(start, end)| {
            let all: Vec<&str> = lines[start..end].iter().copied().flat_map(vector).collect();
            (all.iter().filter(|name| multiplies_and_adds(name)).count(), all.len())
        });
        let share = work.max().filter(|(found, _)| *found > 0).map(|(found, all)| 100 * found / all);
        Counts { packed, share }
    }
}

/// The vector instructions of a line: two where RDNA 3 issues two at once.
fn vector(line: &str) -> impl Iterator<Item = &str> {
    line.split("::").filter_map(|half| half.split_whitespace().next()).filter(|name| name.starts_with("v_"))
}

fn multiplies_and_adds(name: &str) -> bool {
    ["_fma", "_mac_f", "_mad_f", "_mad_mix", "_dot2"].iter().any(|part| name.contains(part))
}

/// First and last line of each loop in which no other starts: from a label to the last jump back to it, which may stand in an inner
/// loop.
fn innermost(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut loops: Vec<(usize, usize)> = vec![];
    for (end, line) in lines.iter().enumerate().filter(|(_, l)| l.starts_with("s_branch") || l.starts_with("s_cbranch"))
    {
        let label = format!("{}:", line.split_whitespace().nth(1).unwrap_or(""));
        let Some(start) = lines[..end].iter().position(|l| *l == label) else { continue };
        match loops.iter_mut().find(|l| l.0 == start) {
            Some(known) => known.1 = end,
            None => loops.push((start, end)),
        }
    }
    let starts_in = |a: &(usize, usize), b: &(usize, usize)| b.0 < a.0 && a.0 <= b.1;
    loops.iter().filter(|l| !loops.iter().any(|other| starts_in(other, l))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_loop_is_found_and_counted() {
        let code = "BB0:\n\ts_load_b64 s[0:1], s[2:3] ; f4\nBB1:\n\tv_mov_b32 v1, v2\nBB2:\n\tv_pk_fma_f16 v1, v2, v3, v1 ; d3\n\
                    \tv_dual_fmac_f32 v1, v2, v3 :: v_dual_mov_b32 v4, v5\n\tv_add_u32 v6, 1, v6\n\tbuffer_load_dword v7, v6\n\
                    \ts_cbranch_scc1 BB2 ; bf\n\ts_branch BB1\n\tv_fma_f32 v1, v2, v3, v4\n\ts_endpgm";
        assert_eq!(Counts::of(code), Counts { packed: 1, share: Some(50) });
        let leaves =
            "BB1:\n\tv_mov_b32 v1, v2\nBB2:\n\tv_fma_f32 v1, v2, v3, v1\n\ts_cbranch_scc1 BB1\n\ts_branch BB2\n";
        assert_eq!(Counts::of(leaves), Counts { packed: 0, share: Some(100) });
        assert_eq!(Counts::of("\tv_fma_f32 v1, v2, v3, v4\n\ts_endpgm"), Counts { packed: 0, share: None });
        assert_eq!(Counts::of("BB1:\n\tv_add_f32 v1, v2, v3\n\ts_branch BB1\n"), Counts { packed: 0, share: None });
    }
}
