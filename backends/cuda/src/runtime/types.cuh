// Integers by their widths. A truth value is 0 or -1 in memory, a bf16 or f16 number its 16 bits.
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
struct bf16 { u16 bits; };
struct f16 { u16 bits; };
