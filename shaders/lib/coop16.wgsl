// Fragments of 16×16 of the hardware's own kind.
enable wgpu_cooperative_matrix;
#import coop

const SIZE: u32 = 16u;
alias left = coop_mat16x16<operand, A>;
alias right = coop_mat16x16<operand, B>;
alias total = coop_mat16x16<f32, C>;
