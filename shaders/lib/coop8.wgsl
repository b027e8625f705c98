// Fragments of 8×8 of the hardware's own kind.
enable wgpu_cooperative_matrix;
#import coop

const SIZE: u32 = 8u;
alias left = coop_mat8x8<operand, A>;
alias right = coop_mat8x8<operand, B>;
alias total = coop_mat8x8<f32, C>;
