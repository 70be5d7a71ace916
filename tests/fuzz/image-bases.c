/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The sound images that hostile ones are made from: each cluster type, cluster
 * size and refcount width that matters, with snapshots that share clusters.
 */
#include "image-plan.h"
#include "../unit/qcow2-fixture.h"

typedef struct BaseRecipe {
    Qcow2FixtureOptions options;
    /*
     * What is then done, a letter for each step: s a snapshot with VM state,
     * c a disk-only one, d the first one is deleted, b bitmaps.
     */
    const char *steps;
    uint64_t vm_state_bytes;
} BaseRecipe;

static const BaseRecipe recipes[] = {
    { { .cluster_bits = 9, .disk_size = 100000, .l2 = { "ddz.Z", "dcccd" } },
      "ss",
      3000 },
    { { .cluster_bits = 9, .disk_size = 40000, .l2 = { "dddd" } }, "", 0 },
    { { .cluster_bits = 9,
        .disk_size = 60000,
        .free_clusters = 3,
        .spare_l1_entries = 3,
        .l2 = { "dd", "zz", "dd", "d" } },
      "csc",
      1500 },
    { { .version = 2,
        .cluster_bits = 9,
        .disk_size = 70001,
        .l2 = { "dcd", NULL, "d" } },
      "scs",
      40000 },
    { { .cluster_bits = 9,
        .refcount_bits = 2,
        .disk_size = 30000,
        .l2 = { "dddz" } },
      "s",
      2000 },
    { { .cluster_bits = 10,
        .refcount_bits = 64,
        .header_length = 104,
        .disk_size = 200000,
        .l2 = { "dZZd", "cc" } },
      "sscsd",
      5000 },
    { { .cluster_bits = 12, .disk_size = 5000000, .l2 = { "dd", "dc", "z" } },
      "sb",
      9000 },
    { { .cluster_bits = 10, .disk_size = 90000, .l2 = { "d.d" } }, "bc", 0 },
    { { .cluster_bits = 9,
        .refcount_bits = 32,
        .disk_size = 32768 * 8,
        .l2 = { "ddd", "ddd", "ddd", "ddd", "d", "d", "d", "d" } },
      "ccccs",
      600 },
    { { .cluster_bits = 16, .disk_size = 1000000, .l2 = { "d" } }, "c", 0 },
    { { .cluster_bits = 9,
        .refcount_bits = 1,
        .disk_size = 9000,
        .l2 = { "dd" } },
      "",
      0 },
    { { .version = 2, .cluster_bits = 9, .disk_size = 0 }, "sd", 5000 },
};

/* A bitmap directory, one table, and one cluster of bits. */
static void add_bitmap(GByteArray *image)
{
    Qcow2FixtureHeader header;
    uint64_t first = image->len;
    uint64_t size;
    uint64_t extension = qcow2_fixture_peek(image, 100, 4);
    unsigned i;

    qcow2_fixture_header(image, &header);
    size = header.cluster_size;
    g_byte_array_set_size(image, first + 3 * size);
    memset(image->data + first, 0, 3 * size);
    for (i = 0; i < 3; i++) {
        qcow2_fixture_set_refcount(image, first / size + i, 1);
    }
    qcow2_fixture_poke(image, 88, 8, 1);
    qcow2_fixture_poke(image, extension, 4, 0x23852875);
    qcow2_fixture_poke(image, extension + 4, 4, 24);
    qcow2_fixture_poke(image, extension + 8, 4, 1);
    qcow2_fixture_poke(image, extension + 16, 8, 32);
    qcow2_fixture_poke(image, extension + 24, 8, first);
    qcow2_fixture_poke(image, first, 8, first + size);
    qcow2_fixture_poke(image, first + 8, 4, 1);
    qcow2_fixture_poke(image, first + 16, 1, 1);
    qcow2_fixture_poke(image, first + 17, 1, 16);
    qcow2_fixture_poke(image, first + 18, 2, 2);
    qcow2_fixture_poke(image, first + 24, 2, 0x6230);
    qcow2_fixture_poke(image, first + size, 8, first + 2 * size);
}

static GByteArray *take_step(GByteArray *image, const BaseRecipe *recipe,
                             unsigned number)
{
    g_autofree char *name = g_strdup_printf("base-%u", number);
    g_autoptr(BlockFile) file = NULL;
    Qcow2FixtureSave save = {
        .name = name,
        .seed = number,
        .bytes = recipe->vm_state_bytes,
    };

    if (recipe->steps[number] == 'b') {
        add_bitmap(image);
        return image;
    }
    file = qcow2_fixture_file(image);
    switch (recipe->steps[number]) {
    case 's':
        qcow2_fixture_must_save(file, &save);
        break;
    case 'c':
        qcow2_fixture_must_create(file, name, number);
        break;
    default:
        qcow2_fixture_must_delete(file, "base-0");
        break;
    }
    g_byte_array_unref(image);
    return qcow2_fixture_content(file);
}

static void make_base(FuzzBase *base, const BaseRecipe *recipe)
{
    unsigned i;

    base->image = qcow2_fixture_build(&recipe->options);
    for (i = 0; recipe->steps[i]; i++) {
        base->image = take_step(base->image, recipe, i);
    }
    fuzz_base_find_slots(base);
}

const FuzzBase *fuzz_base(unsigned number)
{
    static FuzzBase bases[G_N_ELEMENTS(recipes)];
    FuzzBase *base = &bases[number % G_N_ELEMENTS(recipes)];

    if (!base->image) {
        make_base(base, &recipes[number % G_N_ELEMENTS(recipes)]);
    }
    return base;
}
