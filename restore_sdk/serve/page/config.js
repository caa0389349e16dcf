// What stands behind the page: a service, or nothing but files, as `restore-sdk page` writes them.

export const server = true;
