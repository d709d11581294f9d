// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The benchmark's traffic: a generator, a sink, and the programs of the in-kernel peers.
//
// The generator is run by BPF_PROG_RUN on live frames: the kernel hands it one page after another, and each call decides
// whether a frame is due. If so the frame's headers are written, all of them (the kernel recycles the pages as the last
// receiver left them, so a time to live that a router decremented stays decremented), and the frame goes to a device; if
// not, the page goes back and the next call looks at the clock again. The pace is therefore kept here, frame by frame,
// and not by the process that started the run, which would be two system calls and a pool of pages too slow.
//
// The frames that a trial counts carry another source port than those sent before and after it. Loss is then exact,
// however long a frame stands in somebody's queue.
//
// A flow's receiver is one address, or each frame goes to the next of a table of targets: an address and perhaps a VLAN.
// The table is read in order, so that the generator does not wait for memory where what is under test must; whoever filled
// it has mixed it.
//
// Probes come from elsewhere, a few thousand a second from a socket. They carry the time at which they were sent, by the
// clock that is read here, and the sink sorts what they took into a histogram.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// As in bench/src/traffic/.
#define MAX_FLOWS 64
#define HEADERS 42 /* Ethernet, IPv4 without options, UDP */
#define TAG 4	   /* 802.1Q */
#define PORT_UNCOUNTED 7000
#define PORT_COUNTED 7001
#define PORT_STAMPED 7002
#define PORT_FLOW_0 9000

// A histogram's buckets: values below 256 ns have one each, from there on every power of two has 128.
#define FINE 128
#define OCTAVES 28
#define BUCKETS (FINE * (OCTAVES + 2))

#define AF_INET 2

#define BE16(x) ((__u16)((((x) & 0xff) << 8) | (((x) >> 8) & 0xff)))

// One run of the generator. Times are nanoseconds since `start`, those named _q16 with 16 binary places.
struct pace {
	__u64 start;	   // CLOCK_MONOTONIC, ns
	__u64 step_q16;	   // between two frames
	__u64 lag_q16;	   // a generator that is later than this lets the missed frames go
	__u64 from_q16;	   // frames due from here on are counted ...
	__u64 to_q16;	   // ... up to here
	__u64 end_q16;	   // none is due from here on
	__u64 due_q16;	   // the next frame
	__u64 now_q16;	   // the clock as last read
	__u64 missed;	   // frames let go between from and to
	__u32 flows;
	__u32 ifindex;
	__u32 slot;	   // the next frame's place in its round; a round is one frame of every flow
	__u32 turn;	   // with which flow the round began
	__u32 targets;	   // entries of `targets` that are used; none: each flow has its own receiver
	__u32 target;	   // the next of them
};

struct flow {
	__u64 headers[6];  // the first HEADERS bytes of the frame, then nothing
	__u64 sent;
	__u64 counted;	   // of them: those that carry the port PORT_COUNTED
};

// Where a frame goes. In network order; the flow's headers are those of a frame to address 0.
struct target {
	__be32 address;
	__be16 tci;	   // none: untagged
	__u16 nothing;
};

struct tally {
	__u64 frames;
	__u64 bytes;
};

// How long stamped frames were under way, ns.
struct latency {
	__u64 frames;
	__u64 sum;
	__u64 longest;
	__u64 buckets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pace);
} pace SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

// As many entries as are set before load.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

// What arrived: entry 2 * flow for uncounted frames, 2 * flow + 1 for counted ones; the last entry for counted frames
// that are not as a router (or a bridge) must have left them.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * MAX_FLOWS + 1);
	__type(key, __u32);
	__type(value, struct tally);
} arrived SEC(".maps");

// One entry. The sink's device has one queue, so one core at a time writes it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct latency);
} latency SEC(".maps");

// Entry 0: where the `redirect` program sends everything.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} output SEC(".maps");

// The sink's device's; as in bench/src/addresses.rs.
const volatile __u8 sink_mac[ETH_ALEN] = { 0x02, 0x50, 0x4d, 0x20, 0xff, 0 };

// Set before load: the time to live of a frame that took the path it should have taken.
const volatile __u8 expected_ttl = 64;

// A checksum of data in which words of zero have become `address` (RFC 1624), whichever the order of bytes.
static __always_inline __u16 with_address(__u16 sum, __be32 address)
{
	__u32 total = (__u16)~sum + (address & 0xffff) + (address >> 16);

	total = (total & 0xffff) + (total >> 16);
	total = (total & 0xffff) + (total >> 16);
	return ~total;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *at = data;
	__u8 *end = (void *)(long)ctx->data_end;
	const __u32 zero = 0;
	struct pace *p = bpf_map_lookup_elem(&pace, &zero);
	struct flow *f;
	struct target *t = 0;
	__u16 port = BE16(PORT_UNCOUNTED), sum;
	__u32 index;
	__u64 due;

	if (!p || data + HEADERS > end)
		return XDP_DROP;
	if (p->due_q16 > p->now_q16) {
		__u64 now = bpf_ktime_get_ns();

		if (now < p->start)
			return XDP_DROP;
		p->now_q16 = (now - p->start) << 16;
		if (p->due_q16 > p->now_q16)
			return XDP_DROP;
		if (p->now_q16 - p->due_q16 > p->lag_q16) {
			__u64 late = p->now_q16 - p->lag_q16;

			if (late > p->from_q16 && p->due_q16 < p->to_q16)
				p->missed += (late - p->due_q16) / p->step_q16;
			p->due_q16 = late;
		}
	}
	due = p->due_q16;
	if (due >= p->end_q16)
		return XDP_DROP;
	p->due_q16 = due + p->step_q16;

	// One frame of every flow a round, but each round begins with another one: senders that do not know of each other
	// are in no fixed order, and in a fixed order a full queue always drops the same flow's.
	if (p->slot >= p->flows) {
		p->slot = 0;
		p->turn = bpf_get_prandom_u32() % p->flows;
	}
	index = p->turn + p->slot++;
	if (index >= p->flows)
		index -= p->flows;
	f = bpf_map_lookup_elem(&flows, &index);
	if (!f)
		return XDP_DROP;

	sum = (__u16)f->headers[5];
	if (due >= p->from_q16 && due < p->to_q16) {
		port = BE16(PORT_COUNTED);
		// The port is one more, so the checksum is one less; none is sent as 0 (RFC 768).
		sum = bpf_ntohs(sum) - 1;
		sum = sum ? bpf_htons(sum) : 0xffff;
		f->counted++;
	}
	f->sent++;
	if (p->targets) {
		__u32 target = p->target < p->targets ? p->target : 0;

		t = bpf_map_lookup_elem(&targets, &target);
		if (!t)
			return XDP_DROP;
		p->target = target + 1;
		if (t->tci) {
			at += TAG;
			if (at + HEADERS > end)
				return XDP_DROP;
		}
	}
	*(__u64 *)(at + 0) = f->headers[0];
	*(__u64 *)(at + 8) = f->headers[1];
	*(__u64 *)(at + 16) = f->headers[2];
	*(__u64 *)(at + 24) = f->headers[3];
	*(__u64 *)(at + 32) = f->headers[4];
	if (t) {
		*(__u16 *)(at + 24) = with_address((__u16)f->headers[3], t->address);
		*(__be32 *)(at + 30) = t->address;
		sum = with_address(sum, t->address);
		sum = sum ? sum : 0xffff;
		if (t->tci) {
			*(__u64 *)(data + 0) = f->headers[0];
			*(__u32 *)(data + 8) = (__u32)f->headers[1];
			*(__u16 *)(data + 12) = BE16(0x8100);
			*(__u16 *)(data + 14) = t->tci;
		}
	}
	*(__u16 *)(at + 40) = sum;
	*(__u16 *)(at + 34) = port;
	return bpf_redirect(p->ifindex, 0);
}

static __always_inline void record(__u64 sent)
{
	const __u32 zero = 0;
	struct latency *l = bpf_map_lookup_elem(&latency, &zero);
	__u64 took = bpf_ktime_get_ns() - sent;
	__u64 rest = took / FINE, octave = 0, index;

	if (!l)
		return;
	// The octave is the binary logarithm, by halving. (clang 14 crashes over __builtin_clzll.)
#pragma unroll
	for (int step = 32; step > 0; step /= 2) {
		if (rest >> step) {
			octave += step;
			rest >>= step;
		}
	}
	index = octave * FINE + (took >> octave);
	if (index >= BUCKETS)
		index = BUCKETS - 1;
	l->frames++;
	l->sum += took;
	if (took > l->longest)
		l->longest = took;
	l->buckets[index]++;
}

// ARP of Ethernet and IPv4 (RFC 826), from its operation on.
struct arp_rest {
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

// Answers an ARP request in a VLAN, whosever address it asks for: the namespace knows no VLANs, for which a kernel may have
// no driver.
static __always_inline int answer(__u8 *data, __u8 *end)
{
	struct arp_rest *arp = (void *)(data + ETH_HLEN + TAG + 6);
	__be32 asked;

	if ((void *)(arp + 1) > (void *)end || data[16] != 0x08 || data[17] != 0x06 || arp->operation != BE16(1))
		return XDP_PASS;
	asked = arp->target;
	arp->operation = BE16(2);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	arp->target = arp->sender;
	arp->sender = asked;
	__builtin_memcpy(data, arp->target_mac, ETH_ALEN);
	for (int i = 0; i < ETH_ALEN; i++)
		arp->sender_mac[i] = data[ETH_ALEN + i] = sink_mac[i];
	return XDP_TX;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u32 length = end - data;
	struct tally *t;
	__u32 index;
	__u16 source, flow;

	// Ethernet type IPv4, no options, UDP. ARP and the like are the namespace's own.
	if (data + TAG + HEADERS > end)
		return XDP_PASS;
	if (data[12] == 0x81 && data[13] == 0x00) {
		if (data[16] != 0x08 || data[17] != 0x00)
			return answer(data, end);
		data += TAG;
	}
	if (data[12] != 0x08 || data[13] != 0x00 || data[14] != 0x45 || data[23] != 17)
		return XDP_PASS;
	source = data[34] << 8 | data[35];
	flow = (data[36] << 8 | data[37]) - PORT_FLOW_0;
	if (flow >= MAX_FLOWS || source < PORT_UNCOUNTED || source > PORT_STAMPED)
		return XDP_PASS;
	index = 2 * flow + (source != PORT_UNCOUNTED);
	if (data[22] != expected_ttl && source != PORT_UNCOUNTED)
		index = 2 * MAX_FLOWS;
	else if (source == PORT_STAMPED && data + HEADERS + sizeof(__u64) <= end)
		record(*(__u64 *)(data + HEADERS));
	t = bpf_map_lookup_elem(&arrived, &index);
	if (t) {
		t->frames++;
		t->bytes += length;
	}
	return XDP_DROP;
}

// In-kernel forwarding, device to device: what can be had without leaving the kernel.
SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&output, 0, XDP_DROP);
}

// In-kernel routing: the kernel's own tables of routes and neighbours, without its stack. What they do not answer (an
// unknown neighbour, the router's own address, an error to be sent) is the stack's.
SEC("xdp")
int route(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)data;
	struct iphdr *ip = (void *)(data + sizeof(*ethernet));
	struct bpf_fib_lookup fib = {};
	__u32 sum;

	if ((void *)(ip + 1) > (void *)end)
		return XDP_PASS;
	if (ethernet->h_proto != BE16(ETH_P_IP) || ip->ihl != 5 || ip->ttl <= 1)
		return XDP_PASS;
	fib.family = AF_INET;
	fib.tos = ip->tos;
	fib.l4_protocol = ip->protocol;
	fib.tot_len = bpf_ntohs(ip->tot_len);
	fib.ipv4_src = ip->saddr;
	fib.ipv4_dst = ip->daddr;
	fib.ifindex = ctx->ingress_ifindex;
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return XDP_PASS;
	// RFC 1141: the time to live is the upper byte of its word.
	sum = ip->check + BE16(0x0100);
	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
	__builtin_memcpy(ethernet->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, fib.smac, ETH_ALEN);
	return bpf_redirect(fib.ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
