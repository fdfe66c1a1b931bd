// SPDX-License-Identifier: BSD-2-Clause
/* The few libibverbs calls that libodp makes, answered by fake.h's struct. */
#define _GNU_SOURCE
#include "fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

struct fake_dev fake;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ibv_device device;
static struct verbs_context verbs;
static uint32_t next_key = 0x100;

static int query(struct ibv_context *context, const struct ibv_query_device_ex_input *in,
		 struct ibv_device_attr_ex *attr, size_t size)
{
	(void)context;
	(void)in;
	if (fake.query_err)
		return fake.query_err;
	memset(attr, 0, size);
	attr->orig_attr.max_mr_size = UINT64_MAX;
	attr->odp_caps = fake.odp;
	attr->xrc_odp_caps = fake.xrc;
	return 0;
}

static int advise(struct ibv_pd *pd, enum ibv_advise_mr_advice advice, uint32_t flags,
		  struct ibv_sge *sg, uint32_t n)
{
	(void)pd;
	fake.advise_calls++;
	fake.last_advice = advice;
	fake.last_flags = flags;
	if (n != 1)
		return EINVAL;
	if (fake.advise_again && fake.advise_again--)
		return EAGAIN;
	if (fake.advise_err)
		return fake.advise_err;
	if (fake.bad_page && fake.bad_page + 4096 > sg->addr &&
	    fake.bad_page < sg->addr + sg->length)
		return EFAULT;
	if (fake.next_addr && sg->addr != fake.next_addr)
		fake.overlap = true;
	fake.next_addr = sg->addr + sg->length;
	fake.advised += sg->length;
	if (fake.us_per_mib)
		usleep((useconds_t)(((uint64_t)sg->length * fake.us_per_mib) >> 20));
	return 0;
}

struct ibv_pd *fake_pd(void)
{
	static struct ibv_pd pds[64];
	static unsigned int n;
	struct ibv_pd *pd = &pds[n++ % 64];

	strcpy(device.name, "fake0");
	verbs.sz = sizeof(verbs);
	verbs.query_device_ex = query;
	verbs.advise_mr = advise;
	verbs.context.abi_compat = __VERBS_ABI_IS_EXTENDED;
	verbs.context.device = &device;
	verbs.context.cmd_fd = -1;
	pd->context = &verbs.context;
	return pd;
}

void fake_reset(bool odp)
{
	memset(&fake, 0, sizeof(fake));
	fake.odp.general_caps = odp ? IBV_ODP_SUPPORT | IBV_ODP_SUPPORT_IMPLICIT : 0;
	fake.odp.per_transport_caps.rc_odp_caps = 0x3f;
	fake.odp.per_transport_caps.uc_odp_caps = IBV_ODP_SUPPORT_SEND;
	fake.odp.per_transport_caps.ud_odp_caps = IBV_ODP_SUPPORT_SEND;
}

const char *ibv_get_device_name(struct ibv_device *dev)
{
	return dev->name;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	(void)context;
	memset(attr, 0, sizeof(*attr));
	return 0;
}

const char *ibv_wc_status_str(enum ibv_wc_status status)
{
	return status ? "some error" : "success";
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
				unsigned int access)
{
	struct ibv_mr *mr = NULL;
	int err;

	pthread_mutex_lock(&lock);
	err = access & IBV_ACCESS_ON_DEMAND ? fake.demand_err : fake.pin_err;
	if (fake.again) {
		fake.again--;
		err = EAGAIN;
	}
	fake.last_access = access;
	fake.last_iova = iova;
	if (!err) {
		mr = calloc(1, sizeof(*mr));
		mr->context = pd->context;
		mr->pd = pd;
		mr->addr = addr;
		mr->length = length;
		mr->lkey = next_key++;
		mr->rkey = mr->lkey ^ 0x80000000; /* so that they can be told apart */
		fake.regs++;
		fake.live++;
	}
	pthread_mutex_unlock(&lock);
	errno = err;
	return mr;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	return ibv_reg_mr_iova2(pd, addr, length, (uintptr_t)addr, (unsigned int)access);
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
			       int access)
{
	return ibv_reg_mr_iova2(pd, addr, length, iova, (unsigned int)access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	int err;

	pthread_mutex_lock(&lock);
	err = fake.dereg_err;
	if (!err) {
		fake.deregs++;
		fake.live--;
		free(mr);
	}
	pthread_mutex_unlock(&lock);
	return err;
}
