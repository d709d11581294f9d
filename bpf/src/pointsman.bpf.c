// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who gets a frame that arrives on an uplink: a guest (through AF_XDP), or the kernel.
//
// Frames for guests and the group frames of their bridge domains go to the engine; everything else passes to the kernel
// untouched, so that the host's own connections over the same NIC do not notice the engine: its unicast, the VLANs that
// no bridge domain of this device carries, and the link's own protocols (01:80:c2:00:00:0x: LLDP, LACP, spanning tree). A
// guest that is known to be full has its unicast frames dropped here, before anything is copied, and so are a guest's that
// has more than its part of a queue's ring while the ring does not empty. When the engine dies its link goes with it and
// all frames pass.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_STATIONS 4096
#define MAX_QUEUES 256
/* Queues whose rings are shared out; in the rings of further ones guests find room as they come. */
#define SHARED_QUEUES 16

// A guest's address; or that of a VRF's interface, which is one in its VLAN only.
struct station {
	__u8 mac[ETH_ALEN];
	__u16 vlan;	// a guest's: 0; an interface's: its VLAN, and ROUTED
};

#define ROUTED 0x8000

// A guest's address -> its index into `full` and `full_drops`; that of a VRF's interface in a bridge domain -> an index beyond
// them.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STATIONS);
	__type(key, struct station);
	__type(value, __u32);
} stations SEC(".maps");

// Receive queue -> the AF_XDP socket that reads it.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

// Written by the engine through a memory mapping.
struct mark {
	__u32 full;	// nonzero while the guest has no room
	__u32 weight;	// of its part of a ring; 0 is 1
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_STATIONS);
	__type(key, __u32);
	__type(value, struct mark);
} full SEC(".maps");

// A guest's frames in a queue's ring are those that came less those that the worker has taken out. Also mapped.
struct waiting {
	__u64 came;
	__u64 taken;
};

// Index: queue * MAX_STATIONS + guest.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SHARED_QUEUES * MAX_STATIONS);
	__type(key, __u32);
	__type(value, struct waiting);
} waiting SEC(".maps");

// Receive queue -> how many frames of a guest of weight 1 may wait in its ring; 0: as many as there is room for. Also
// mapped.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SHARED_QUEUES);
	__type(key, __u32);
	__type(value, __u64);
} parts SEC(".maps");

// Frames dropped because their guest was full, or had its part of the ring.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_STATIONS);
	__type(key, __u32);
	__type(value, __u64);
} full_drops SEC(".maps");

// Set before load. `own` is the device's own address; a transit device also carries frames for stations beyond other
// uplinks, so everything that is not for the host itself goes to the engine. `vlans` has a bit for every VLAN that a
// bridge domain carries here or a VRF routes; bit 0 stands for untagged frames. `routed` has those of the VRFs.
const volatile struct station own;
const volatile __u32 transit;
const volatile __u64 vlans[4096 / 64];
const volatile __u64 routed[4096 / 64];

// As IEEE 802.1Q lays it out behind the addresses.
struct tagged {
	__u8 addresses[2 * ETH_ALEN];
	__be16 tpid;
	__be16 tci;
};

static __always_inline int is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

static __always_inline int is_link_local(const __u8 *mac)
{
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] && !(mac[5] & 0xf0);
}

// The VLAN of a frame, 0 without a tag. A priority tag (VLAN 0) is no tag.
static __always_inline __u32 vlan_of(const __u8 *data, const __u8 *end)
{
	const struct tagged *frame = (const void *)data;
	__u32 vlan = 0;

	if ((const __u8 *)(frame + 1) <= end && frame->tpid == bpf_htons(ETH_P_8021Q))
		vlan = bpf_ntohs(frame->tci) & 0x0fff;
	return vlan;
}

// Whether the VLAN is one of `set`.
static __always_inline int has(const volatile __u64 *set, __u32 vlan)
{
	// The mask comes last in the program too, where clang would put it before the swap: the verifier of kernel 6.1 loses
	// the bound there, and refuses the program.
	barrier_var(vlan);
	vlan &= 0x0fff;
	return set[vlan / 64] >> (vlan % 64) & 1;
}

// Whether the guest has its part of the queue's ring already. Else one more of its frames is in there.
static __always_inline int has_its_part(__u32 queue, __u32 guest, __u64 weight)
{
	const volatile __u64 *part = bpf_map_lookup_elem(&parts, &queue);
	__u32 index = queue * MAX_STATIONS + guest;
	struct waiting *frames;

	if (!part)
		return 0;
	frames = bpf_map_lookup_elem(&waiting, &index);
	if (!frames)
		return 0;
	if (*part) {
		__u64 there = frames->came - *(volatile __u64 *)&frames->taken;

		if (there >= *part * (weight ? weight : 1))
			return 1;
	}
	// Nobody else receives on this queue but in generic mode, where a frame may then go uncounted.
	*(volatile __u64 *)&frames->came += 1;
	return 0;
}

SEC("xdp.frags")
int pointsman(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data;
	const __u8 *end = (void *)(long)ctx->data_end;
	struct station dst = {};
	__u32 vlan;

	if (data + ETH_HLEN > end)
		return XDP_PASS;
	vlan = vlan_of(data, end);
	if (!has(vlans, vlan))
		return XDP_PASS;
	__builtin_memcpy(dst.mac, data, ETH_ALEN);

	if (is_group(dst.mac)) {
		if (is_link_local(dst.mac))
			return XDP_PASS;
	} else if (has(routed, vlan)) {
		dst.vlan = ROUTED | vlan;
		if (!bpf_map_lookup_elem(&stations, &dst))
			return XDP_PASS;
	} else {
		const __u32 *guest = bpf_map_lookup_elem(&stations, &dst);

		if (guest) {
			__u32 index = *guest;
			const volatile struct mark *mark = bpf_map_lookup_elem(&full, &index);

			if (mark && (mark->full || has_its_part(ctx->rx_queue_index, index, mark->weight))) {
				__u64 *drops = bpf_map_lookup_elem(&full_drops, &index);

				if (drops)
					*drops += 1;
				return XDP_DROP;
			}
		} else {
			__u64 a = 0, b = 0;

			if (!transit)
				return XDP_PASS;
			__builtin_memcpy(&a, dst.mac, ETH_ALEN);
			for (int i = 0; i < ETH_ALEN; i++)
				b |= (__u64)own.mac[i] << (8 * i);
			if (a == b)
				return XDP_PASS;
		}
	}
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

// Run by the engine with BPF_PROG_RUN on live frames: puts a frame into the host's own stack as if it had just arrived.
// The engine owes the host a copy of every group frame it took.
SEC("xdp")
int to_host(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
