// SPDX-License-Identifier: BSD-2-Clause
/*
 * Many messages in flight on many QPs, while the memory under them changes.
 *
 * Each RC pair keeps --depth messages going; each message has a slot of its own in a source and a
 * target buffer, a size, offsets and contents that follow from its number, and is checked when it
 * completes, guards included.  Meanwhile --churn takes the memory away: DONTNEED of shared memory
 * (contents stay), fork (everything becomes copy-on-write), PAGEOUT, mprotect there and back.
 */
#define _GNU_SOURCE
#include "lib/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD 64
enum op { WRITE, WRITE_IMM, SEND, READ, OP_N };
static const char *const op_name[OP_N] = { "write", "write_imm", "send", "read" };

struct msg {
	uint64_t no;
	enum op op;
	size_t len, soff, doff; /* in the slot */
	bool busy, sent, received;
};
struct pair {
	struct t_ep a, b;
	struct t_arena src, dst;
	struct ibv_mr *src_far, *dst_near; /* READ: the source is B's, the landing buffer A's */
	uint64_t next, oldest_send, oldest_recv; /* message numbers */
	struct msg *m;
	unsigned index;
};

static struct {
	const char *dev, *dev2, *ops, *kind, *churn;
	int gid, gid2, mtu, qp_timeout;
	unsigned qps, depth;
	size_t max;
	double time;
	uint64_t count;
	bool late, two_way;
} opt = { .gid = 1, .gid2 = -1, .qps = 4, .depth = 8, .max = 40000, .time = 5, .kind = "shm" };

static struct pair *pairs;
static size_t slot;
/* The CPU fills the sources, but not while they are read-only. */
static pthread_mutex_t cpu = PTHREAD_MUTEX_INITIALIZER;
static volatile bool stop;
static uint64_t bytes, messages, churns;
static enum op allowed[OP_N];
static unsigned n_allowed;

static uint64_t seq_of(const struct pair *p, const struct msg *m)
{
	return m->no * 1000 + p->index + 1;
}

static uint8_t *dst_of(const struct pair *p, const struct msg *m)
{
	return p->dst.va + (m->no % opt.depth) * slot + m->doff;
}

static uint8_t *src_of(const struct pair *p, const struct msg *m)
{
	return p->src.va + (m->no % opt.depth) * slot + m->soff;
}

static void post_receive(struct pair *p, struct msg *m)
{
	struct ibv_sge sg = t_sge(dst_of(p, m), m->len, p->dst.mr[0]->lkey);
	int rc = t_recv(&p->b, &sg, m->op == SEND, m->no);

	if (rc)
		t_die("post of a receive: %s", strerror(rc));
}

static void post(struct pair *p)
{
	struct msg *m = &p->m[p->next % opt.depth];
	uint64_t rnd = t_mix(p->next * 64 + p->index);
	static const enum ibv_wr_opcode wr_op[OP_N] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_SEND, IBV_WR_RDMA_READ,
	};
	struct t_wr w = { .n = 1, .rkey = p->dst.mr[0]->rkey };
	struct ibv_sge sg;
	int rc;

	*m = (struct msg){ .no = p->next++, .op = allowed[rnd % n_allowed], .busy = true };
	m->len = (rnd >> 8) % 4 ? (rnd >> 16) % (opt.max / 8 + 1) : (rnd >> 16) % (opt.max + 1);
	m->soff = GUARD + (rnd >> 40) % T_PAGE;
	m->doff = GUARD + (rnd >> 52) % T_PAGE;
	m->received = m->op == WRITE || m->op == READ;
	pthread_mutex_lock(&cpu);
	t_pat_fill(src_of(p, m), m->len, seq_of(p, m), 0);
	pthread_mutex_unlock(&cpu);
	t_pat_fill(dst_of(p, m) - GUARD, m->len + 2 * GUARD, ~seq_of(p, m), 0);

	if (m->op == READ) { /* from the source through B's key into A's landing buffer */
		sg = t_sge(dst_of(p, m), m->len, p->dst_near->lkey);
		w.raddr = (uintptr_t)src_of(p, m);
		w.rkey = p->src_far->rkey;
	} else {
		sg = t_sge(src_of(p, m), m->len, p->src.mr[0]->lkey);
		w.raddr = (uintptr_t)dst_of(p, m);
	}
	w.sg = &sg;
	w.op = wr_op[m->op];
	w.id = m->no;
	w.imm = htonl((uint32_t)m->no);
	if (!m->received && !opt.late)
		post_receive(p, m);
	rc = t_post(&p->a, &w);
	if (rc)
		t_die("pair %u message %llu: post: %s", p->index, (unsigned long long)m->no,
		      strerror(rc));
	if (!m->received && opt.late)
		post_receive(p, m);
}

static void finish(struct pair *p, struct msg *m)
{
	uint8_t *d = dst_of(p, m);
	uint64_t s = seq_of(p, m);

	t_context("pair %u (QP %u -> %u) message %llu: %s of %zu bytes, offsets %zu -> %zu, "
		  "kind %s, churn %s", p->index, p->a.me.qpn, p->b.me.qpn,
		  (unsigned long long)m->no, op_name[m->op], m->len, m->soff, m->doff,
		  opt.kind, opt.churn ? opt.churn : "none");
	t_pat_check("payload", d, m->len, s, 0);
	t_pat_check("guard before", d - GUARD, GUARD, ~s, 0);
	t_pat_check("guard behind", d + m->len, GUARD, ~s, GUARD + m->len);
	t_context("%s", "");
	m->busy = false;
	bytes += m->len;
	messages++;
}

/* Take one completion; its order must be the order of posting. */
static bool reap(struct pair *p, struct ibv_cq *cq, bool recv)
{
	uint64_t *oldest = recv ? &p->oldest_recv : &p->oldest_send;
	struct ibv_wc wc;
	struct msg *m;

	if (ibv_poll_cq(cq, 1, &wc) != 1)
		return false;
	while (recv && *oldest < p->next &&
	       (p->m[*oldest % opt.depth].op == WRITE || p->m[*oldest % opt.depth].op == READ ||
		p->m[*oldest % opt.depth].no != *oldest))
		++*oldest;
	m = &p->m[*oldest % opt.depth];
	if (wc.status != IBV_WC_SUCCESS)
		t_die("pair %u %s wr_id %llu: '%s' (message %s of %zu bytes)", p->index,
		      recv ? "receive" : "send", (unsigned long long)wc.wr_id,
		      ibv_wc_status_str(wc.status), op_name[p->m[wc.wr_id % opt.depth].op],
		      p->m[wc.wr_id % opt.depth].len);
	if (wc.wr_id != *oldest)
		t_die("pair %u: %s completion of message %llu, expected %llu", p->index,
		      recv ? "receive" : "send", (unsigned long long)wc.wr_id,
		      (unsigned long long)*oldest);
	++*oldest;
	if (recv) {
		m->received = true;
		if (m->op == SEND && wc.byte_len != m->len)
			t_fail("pair %u message %llu: byte_len %u, sent %zu", p->index,
			       (unsigned long long)m->no, wc.byte_len, m->len);
		if (m->op == WRITE_IMM && ntohl(wc.imm_data) != (uint32_t)m->no)
			t_fail("pair %u message %llu: immediate %u", p->index,
			       (unsigned long long)m->no, ntohl(wc.imm_data));
	} else {
		m->sent = true;
	}
	if (m->sent && m->received && m->busy)
		finish(p, m);
	return true;
}

/*
 * "protect" makes pages read-only for a moment for this process as well: when the handler returns,
 * the store is tried again.
 */
static void on_segv(int sig)
{
	(void)sig;
	sched_yield();
}

/* The device was removed: nothing completes any more, and an event says so. */
static bool device_is_gone(struct ibv_context *ctx)
{
	struct ibv_async_event ev;
	bool gone = false;

	fcntl(ctx->async_fd, F_SETFL, O_NONBLOCK);
	while (!gone && !ibv_get_async_event(ctx, &ev)) {
		gone = ev.event_type == IBV_EVENT_DEVICE_FATAL;
		if (!gone)
			ibv_ack_async_event(&ev);
	}
	return gone;
}

static void *churn(void *arg)
{
	uint64_t rnd = 5;

	(void)arg;
	while (!stop) {
		struct pair *p = &pairs[(rnd = t_mix(rnd)) % opt.qps];
		struct t_arena *r = rnd & 0x10000 ? &p->src : &p->dst;
		size_t pages = r->size / T_PAGE, from = (rnd >> 20) % pages;
		size_t n = 1 + (rnd >> 40) % (pages - from < 64 ? pages - from : 64);
		uint8_t *at = r->va + from * T_PAGE;

		if (!strcmp(opt.churn, "drop")) {
			madvise(at, n * T_PAGE, MADV_DONTNEED);
		} else if (!strcmp(opt.churn, "pageout")) {
			madvise(at, n * T_PAGE, MADV_PAGEOUT);
		} else if (!strcmp(opt.churn, "protect")) {
			/*
			 * Read-only for a moment. Only sources: a WRITE to read-only memory would
			 * rightly fail.
			 */
			at = p->src.va + from * T_PAGE;
			if (pages - from >= n && !strcmp(opt.ops ? opt.ops : "", "write")) {
				pthread_mutex_lock(&cpu);
				mprotect(at, n * T_PAGE, PROT_READ);
				mprotect(at, n * T_PAGE, PROT_READ | PROT_WRITE);
				pthread_mutex_unlock(&cpu);
			}
		} else {
			pid_t pid = fork();

			if (!pid)
				_exit(0);
			if (pid > 0)
				waitpid(pid, NULL, 0);
			usleep(t_debug ? 200000 : 20000);
		}
		__atomic_add_fetch(&churns, 1, __ATOMIC_RELAXED);
		if (!(rnd & 0xf00000000000ULL))
			usleep(200);
	}
	return NULL;
}

static void usage(void)
{
	puts("usage: prxe-stream [-d DEV] [-g GID] [-e DEV2] [-G GID2] [-q QPS] [-D DEPTH]\n"
	     "  [-s MAX] [--mtu N] [--time T] [--count MESSAGES] [--late] [--qp-timeout N]\n"
	     "  [--ops write,write_imm,send,read] [--kind pin|odp|shm]\n"
	     "  [--churn drop|fork|pageout|protect]");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "time", 1, 0, 1 },
		{ "ops", 1, 0, 2 },
		{ "kind", 1, 0, 3 },
		{ "churn", 1, 0, 4 },
		{ "count", 1, 0, 5 },
		{ "late", 0, 0, 6 },
		{ "mtu", 1, 0, 7 },
		{ "qp-timeout", 1, 0, 8 },
		{ 0 },
	};
	struct t_dev *da, *db;
	enum t_kind kind = K_N;
	uint64_t last = 0;
	double end, progress, from;
	unsigned access;
	pthread_t th;
	int c;

	t_init();
	while ((c = getopt_long(argc, argv, "d:e:g:G:q:D:s:", lo, NULL)) != -1) {
		switch (c) {
		case 'd': opt.dev = optarg; break;
		case 'e': opt.dev2 = optarg; break;
		case 'g': opt.gid = atoi(optarg); break;
		case 'G': opt.gid2 = atoi(optarg); break;
		case 'q': opt.qps = (unsigned)atoi(optarg); break;
		case 'D': opt.depth = (unsigned)atoi(optarg); break;
		case 's': opt.max = strtoull(optarg, NULL, 0); break;
		case 1: opt.time = atof(optarg); break;
		case 2: opt.ops = optarg; break;
		case 3: opt.kind = optarg; break;
		case 4: opt.churn = optarg; break;
		case 5: opt.count = strtoull(optarg, NULL, 0); break;
		case 6: opt.late = true; break;
		case 7: opt.mtu = atoi(optarg); break;
		case 8: opt.qp_timeout = atoi(optarg); break;
		default: usage();
		}
	}
	for (int k = 0; k < K_N; k++)
		if (!strcmp(opt.kind, t_kind_name[k]))
			kind = (enum t_kind)k;
	for (int i = 0; i < OP_N; i++)
		if (t_list_has(opt.ops, op_name[i]))
			allowed[n_allowed++] = (enum op)i;
	if (optind != argc || kind == K_N || !n_allowed || !opt.qps || !opt.depth)
		usage();
	if (opt.churn && (!strcmp(opt.churn, "drop") ? kind != K_SHM : kind == K_PIN))
		t_die("--churn %s would change the contents of kind %s", opt.churn, opt.kind);
	t_watchdog((unsigned)opt.time * 2 + 120);

	da = t_dev_open(opt.dev, opt.gid);
	db = opt.dev2 ? t_dev_open(opt.dev2, opt.gid2 >= 0 ? opt.gid2 : opt.gid) : da;
	if (kind != K_PIN && !(da->odp && db->odp))
		t_die("%s: no ODP", da->name);
	access = T_ALL_ACCESS | (kind == K_PIN ? 0 : IBV_ACCESS_ON_DEMAND);
	slot = (opt.max + 3 * T_PAGE + 2 * GUARD) & ~(T_PAGE - 1);
	pairs = calloc(opt.qps, sizeof(*pairs));
	for (unsigned i = 0; i < opt.qps; i++) {
		struct t_opt o = { .depth = opt.depth, .rd_atomic = i & 1 ? 1 : 4, .min_rnr = 4,
				   .timeout = (uint8_t)opt.qp_timeout };
		struct pair *p = &pairs[i];

		for (int m = IBV_MTU_256; opt.mtu && m <= IBV_MTU_4096; m++)
			if (128 << m == opt.mtu)
				o.mtu = (enum ibv_mtu)m;
		p->index = i;
		p->m = calloc(opt.depth, sizeof(*p->m));
		t_arena_open(&p->src, kind, slot * opt.depth, da->pd, 0, 0);
		t_arena_open(&p->dst, kind, slot * opt.depth, db->pd, 0, 0);
		p->src_far = t_reg(db->pd, p->src.va, p->src.size, access);
		p->dst_near = t_reg(da->pd, p->dst.va, p->dst.size, access);
		t_pair_open(&p->a, da, &p->b, db, &o);
		for (unsigned d = 0; d < opt.depth; d++)
			p->m[d].no = UINT64_MAX;
	}
	if (opt.churn && !strcmp(opt.churn, "protect"))
		signal(SIGSEGV, on_segv);
	if (opt.churn && pthread_create(&th, NULL, churn, NULL))
		t_die("pthread_create failed");

	from = progress = t_now();
	end = from + opt.time;
	for (;;) {
		bool more = t_now() < end && (!opt.count || messages < opt.count) && !t_fails;
		unsigned busy = 0;

		for (unsigned i = 0; i < opt.qps; i++) {
			struct pair *p = &pairs[i];

			while (more && p->next - p->oldest_send < opt.depth &&
			       !p->m[p->next % opt.depth].busy)
				post(p);
			while (reap(p, p->b.rcq, true))
				;
			while (reap(p, p->a.scq, false))
				;
			for (unsigned d = 0; d < opt.depth; d++)
				busy += p->m[d].busy;
		}
		if (!more && !busy)
			break;
		if (messages != last) {
			last = messages;
			progress = t_now();
		} else if (t_now() - progress > 0.2 && device_is_gone(da->ctx)) {
			t_die("the device is gone, %u in flight", busy);
		} else if (t_now() - progress > t_slow(20)) {
			for (unsigned i = 0; i < opt.qps; i++)
				for (unsigned d = 0; d < opt.depth; d++) {
					const struct msg *m = &pairs[i].m[d];

					if (m->busy)
						fprintf(stderr, "pair %u message %llu %s len %zu "
							"sent %d received %d\n", i,
							(unsigned long long)m->no, op_name[m->op],
							m->len, m->sent, m->received);
				}
			t_die("no message completed for %.0f s, %u in flight", t_slow(20), busy);
		}
	}
	stop = true;
	if (opt.churn)
		pthread_join(th, NULL);
	t_note("%llu messages, %.1f MB, %.1f MB/s, %llu churns", (unsigned long long)messages,
	(double)bytes / 1e6, (double)bytes / 1e6 / (t_now() - from), (unsigned long long)churns);
	for (unsigned i = 0; i < opt.qps; i++) {
		t_ep_close(&pairs[i].a);
		t_ep_close(&pairs[i].b);
		ibv_dereg_mr(pairs[i].src_far);
		ibv_dereg_mr(pairs[i].dst_near);
		t_arena_close(&pairs[i].src);
		t_arena_close(&pairs[i].dst);
	}
	if (db != da)
		t_dev_close(db);
	t_dev_close(da);
	return t_done("stream");
}
