/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the programs with raw packets share: a device at each end of a veth pair, each end in its
 * own network namespace, and raw sockets at both ends.
 */
#ifndef TWO_H
#define TWO_H

#include "lib/t.h"
#include "spoof.h"

#define GRH 40
#define GUARD 0xbbbb		/* pattern of memory that nobody may write */
#define EVIL 0xeeee		/* pattern of payloads that nobody may take */
#define TWO_BIG 60000		/* a packet's payload that is longer than every path MTU */

struct two {
	struct t_dev *a, *b;
	uint32_t ipa, ipb;	/* network order */
	const char *ns[2], *netdev[2];
	struct sp to_a, to_b;	/* each in the namespace of the other device */
	double time;
	uint64_t seed;
};
extern struct two two;

/*
 * Options: -d DEV -g GID -n NAMESPACE -i NETDEV of A, -e DEV -G GID -N NAMESPACE -I NETDEV of B, -t
 * SECONDS, -s SEED. The defaults are the names that tests/wire/ns.sh makes. @sniff: for sp_next()
 * and the fake peer.
 */
void two_open(int argc, char **argv, bool sniff);
void two_close(void);

struct two_test {
	const char *name;
	void (*run)(void);
};

/*
 * A whole program, with sniffing: those of the @n @tests that are named behind the options, or this
 * run's share of all. Returns the exit status.
 */
int two_main(int argc, char **argv, const char *program, const struct two_test *tests, size_t n);

/* Registered memory of @d with the pattern @seq. */
struct two_mem {
	uint8_t *va;
	size_t size;
	struct ibv_mr *mr;
};

struct two_mem two_mem_open(struct t_dev *d, size_t size, uint64_t seq);
void two_mem_close(struct two_mem *m);

/* Fails, with @what, if the QP is in another state. */
void two_must_stay(const char *what, struct t_ep *e, enum ibv_qp_state want);

/*
 * An RC or UC QP of device A whose peer is this program, which uses B's address and a QP number
 * that B does not have. fake_send() sends packets of the peer; packets of the QP come to sp_next().
 */
#define FAKE_QPN 0x7a7a7aU
#define FAKE_PSN 0x1000U
void fake_open(struct t_ep *e, const struct t_opt *o);
void fake_again(struct t_ep *e); /* through RESET */
void fake_send(struct t_ep *e, struct sp_hdr h, const void *payload, size_t len);
/* The next packet that the QP sends. Fails (with @what) if there is none. */
bool fake_next(const char *what, struct sp_hdr *h, uint8_t *payload, size_t *len);
void fake_ack(struct t_ep *e, uint32_t psn, uint8_t syndrome);
/* Drop what the device has sent meanwhile, so that the next test does not read it. */
void fake_forget(void);

#endif
