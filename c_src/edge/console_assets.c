/*
 * console_assets.c: the files of the console page as bytes in the program. The assembler includes them (paths are
 * relative to the directory that make runs in), so no generator and no generated file is needed.
 */
#define ASSET(name, file)                                                                                              \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".global " name "_start\n.global " name "_end\n" name "_start:\n.incbin \"" file "\"\n" name               \
            "_end:\n.byte 0\n"                                                                                         \
            ".popsection\n")

ASSET("console_html", "c_src/edge/console.html");
ASSET("console_client", "c_src/edge/console_client.js");
