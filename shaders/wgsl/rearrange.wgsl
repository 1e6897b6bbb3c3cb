// Copies the values that a view shows, six nested loops over the input: an invocation a value.

struct Params {
    grid_width: u32,
    count: u32,
    offset: u32,
    extent_0: u32,
    extent_1: u32,
    extent_2: u32,
    extent_3: u32,
    extent_4: u32,
    extent_5: u32,
    stride_0: i32,
    stride_1: i32,
    stride_2: i32,
    stride_3: i32,
    stride_4: i32,
    stride_5: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // (count)

override LANES: u32 = 64u;

// What is left of the index, and the address so far.
struct Rest {
    index: u32,
    address: i32,
}

// Takes the innermost axis off.
fn along(rest: Rest, extent: u32, stride: i32) -> Rest {
    return Rest(rest.index / extent, rest.address + i32(rest.index % extent) * stride);
}

@compute @workgroup_size(LANES)
fn rearrange(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * params.grid_width + workgroup.x) * LANES + lane;
    if index < params.count {
        var rest = along(Rest(index, i32(params.offset)), params.extent_5, params.stride_5);
        rest = along(rest, params.extent_4, params.stride_4);
        rest = along(rest, params.extent_3, params.stride_3);
        rest = along(rest, params.extent_2, params.stride_2);
        rest = along(rest, params.extent_1, params.stride_1);
        rest = along(rest, params.extent_0, params.stride_0);
        output[index] = input[u32(rest.address)];
    }
}
